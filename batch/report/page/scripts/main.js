/* report.html: the last of the scripts, which starts the page. */

import { data, describe } from "./data.js";
import { filters } from "./filter.js";
import { startHelp } from "./help.js";
import { follow } from "./live.js";
import { failures, happened, heading, schedulers, startTabs, timing } from "./overview.js";
import { show, startPictures } from "./pictures.js";
import { start } from "./state.js";

describe();
heading();
failures();
happened();
timing();
schedulers();
startTabs();
filters();
startPictures();
startHelp();
start();
show();
if (data.live) follow();
