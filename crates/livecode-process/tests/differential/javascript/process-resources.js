console.log(process.getActiveResourcesInfo(), process._getActiveHandles().length, process.memoryUsage().rss > 0, process.constrainedMemory() === undefined, process.report.getReport().userLimits);
