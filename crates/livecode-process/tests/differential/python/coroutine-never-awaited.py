async def never():
    pass
never()
kept = never()
