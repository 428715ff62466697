puts 'never'
def (
