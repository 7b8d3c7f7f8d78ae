/* report.html: the last of the scripts, which starts the page. */

import { data, describe } from "./data.js";
import { show } from "./gallery.js";
import { follow } from "./live.js";
import { failures, happened, heading, schedulers, startTabs, timing } from "./overview.js";
import { startPicks } from "./picksbar.js";
import { filters, onChoice } from "./selection.js";
import { start } from "./state.js";

describe();
heading();
failures();
happened();
timing();
schedulers();
startTabs();
filters();
onChoice(show);
startPicks();
start();
show();
if (data.live) follow();
