const keep = line => line && !/^(Vm|Rss|voluntary|nonvoluntary|Hugetlb|SigQ|Cpus|Mems|x86|untag)/.test(line);
console.log(require('fs').readFileSync('/proc/self/status', 'utf8').split('\n').filter(keep));
