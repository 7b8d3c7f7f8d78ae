/* All that is known of an image. */

import { make } from "./dom.js";
import { record } from "./data.js";
export const details = image => make("pre", {}, JSON.stringify(record(image) ?? {}, null, 2));
