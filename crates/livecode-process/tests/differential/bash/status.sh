grep -v '^\(State\|Vm\|Rss\|volun\|nonvol\|Hugetlb\|SigQ\|untag\)' /proc/$$/status
