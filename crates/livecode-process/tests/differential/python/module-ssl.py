import ssl
print(ssl.OPENSSL_VERSION, ssl.create_default_context().verify_mode, ssl.RAND_status())
