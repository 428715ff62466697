def größe(wert):
    raise ValueError(f'größe {wert} «ungültig» 数')


größe('π')
