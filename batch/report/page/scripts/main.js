/* report.html: the last of the scripts, which starts the page. */

import { watchPictures } from "./beside.js";
import { startCosts } from "./costs.js";
import { data, describe } from "./data.js";
import { failures } from "./failures.js";
import { filters } from "./filter.js";
import { happened } from "./happened.js";
import { startHelp } from "./help.js";
import { follow } from "./live.js";
import { lookAtAddress, startLooking } from "./looking.js";
import { heading, startTabs } from "./overview.js";
import { startPicks } from "./picksbar.js";
import { show, startPictures } from "./pictures.js";
import { start } from "./state.js";

describe();
watchPictures();
heading();
failures();
happened();
startTabs();
startLooking();
startCosts();
filters();
startPictures();
startPicks();
startHelp();
start();
show();
lookAtAddress();
if (data.live) follow();
