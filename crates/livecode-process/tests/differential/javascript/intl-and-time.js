console.log(new Date(0).toString(), Intl.DateTimeFormat().resolvedOptions(), (1234.5).toLocaleString(), 'ä'.localeCompare('z'));
