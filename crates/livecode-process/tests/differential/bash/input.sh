#= stdin: one\ntwo\nlast
read first; echo "<$first>"; cat; read none || echo end
