#= env: ANSWER=42
p ENV.to_h, Encoding.default_external, Encoding.default_internal
