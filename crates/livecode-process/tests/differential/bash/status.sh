grep -v '^\(Vm\|Rss\|volun\|nonvol\|Hugetlb\|SigQ\|untag\)' /proc/$$/status
