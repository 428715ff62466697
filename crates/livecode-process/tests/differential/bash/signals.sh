trap 'echo caught; exit 5' TERM; kill $$; sleep 5
