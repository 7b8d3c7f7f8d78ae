/* Texts as they are searched. */

/** In one case and one form, with ß as ss, and without the dot that a lower İ keeps. */
export const folded = text => text.normalize("NFC").toUpperCase().toLowerCase().replace(/ς/g, "σ").replace(/i\u0307/g, "i").normalize("NFC");
