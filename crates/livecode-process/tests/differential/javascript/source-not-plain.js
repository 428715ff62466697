//= text: \u{feff}console.log('größe 数', __filename);\r\n
