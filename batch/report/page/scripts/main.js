/* report.html: the last of the scripts, which starts the page. */

import { startCosts } from "./costs.js";
import { data, describe } from "./data.js";
import { failures } from "./failures.js";
import { show } from "./gallery.js";
import { happened } from "./happened.js";
import { follow } from "./live.js";
import { heading, startTabs } from "./overview.js";
import { filters, onChoice } from "./selection.js";
import { start } from "./state.js";

describe();
heading();
failures();
happened();
startTabs();
startCosts();
filters();
onChoice(show);
start();
show();
if (data.live) follow();
