kept = []
class Phoenix:
    def __del__(self):
        kept.append(self)
        print('rises')
Phoenix()
print(len(kept))
