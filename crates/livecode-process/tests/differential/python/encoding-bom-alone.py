#= text: \u{feff}
