class Reason:
    def __str__(self):
        return 'the reason'
raise SystemExit(Reason())
