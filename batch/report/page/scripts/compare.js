/* compare.html: the last of its scripts, which starts the page. */

import { startCaptions, startSorting } from "./figures.js";
import { start } from "./state.js";
import { startWorst } from "./worst.js";

startCaptions();
startSorting();
startWorst();
start();
