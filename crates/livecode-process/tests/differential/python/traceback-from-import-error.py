from os import not_there_at_all
