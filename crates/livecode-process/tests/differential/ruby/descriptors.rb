p Dir.children('/proc/self/fd').sort, Dir.children('/work'), Dir.children('/tmp'), File.open('main.rb').fileno
