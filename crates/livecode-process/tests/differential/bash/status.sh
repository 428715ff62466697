while IFS= read -r line; do
  case $line in
    Vm* | Rss* | volun* | nonvol* | Hugetlb* | SigQ* | untag*) ;;
    *) printf '%s\n' "$line" ;;
  esac
done < /proc/$$/status
