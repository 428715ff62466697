class Broken:
    attribute = undefined
