/* report.html: the last of the scripts, which starts the page. */

import { data, describe } from "./data.js";
import { filters } from "./filter.js";
import { startHelp } from "./help.js";
import { follow } from "./live.js";
import { lookAtAddress, startLooking } from "./looking.js";
import { failures, happened, heading, schedulers, startTabs, timing } from "./overview.js";
import { startPicks } from "./picksbar.js";
import { show, startPictures } from "./pictures.js";
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
startPictures();
startPicks();
startHelp();
start();
show();
lookAtAddress();
if (data.live) follow();
