print(credits)
print(copyright)
