console.log('never?');
//== package.json
{damaged
