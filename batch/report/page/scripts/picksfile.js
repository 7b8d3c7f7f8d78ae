/* A list of picks that somebody loads: any file may be it. */

const MOST_BYTES = 8 * 2 ** 20;  // as the command line reads

/** The lines of a list, without comments. Throws an Error that says why it is none. */
export async function linesOf(file) {
  if (file.size > MOST_BYTES) throw new Error(`${file.name} is no list of picks: it has more than ${MOST_BYTES / 2 ** 20} MiB`);
  return decodedPicks(new Uint8Array(await file.arrayBuffer()), file.name).split(/\r\n|\n|\r/).map(line => line.trim()).filter(line => line && !line.startsWith("#"));
}

// In UTF-8, or in UTF-16 where it begins as that does: Windows' editors write both.
function decodedPicks(bytes, name) {
  const start = [...bytes.subarray(0, 2)].map(byte => byte.toString(16)).join("");
  try {
    const text = new TextDecoder({fffe: "utf-16le", feff: "utf-16be"}[start] || "utf-8", {fatal: true}).decode(bytes);
    if (!text.includes("\0")) return text;
  } catch {
    // said below
  }
  throw new Error(`${name} is no list of picks: it is not text`);
}
