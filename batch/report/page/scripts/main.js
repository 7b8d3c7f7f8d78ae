/* report.html: the last of the scripts, which starts the page. */

import { data, describe } from "./data.js";
import { show } from "./gallery.js";
import { follow } from "./live.js";
import { lookAtAddress, startLooking } from "./looking.js";
import { failures, happened, heading, schedulers, startTabs, timing } from "./overview.js";
import { filters, onChoice } from "./selection.js";
import { start } from "./state.js";

describe();
heading();
failures();
happened();
timing();
schedulers();
startTabs();
startLooking();
filters();
onChoice(show);
start();
show();
lookAtAddress();
if (data.live) follow();
