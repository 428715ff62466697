console.log(process.moduleLoadList.length > 50, process.moduleLoadList.slice(-20));
