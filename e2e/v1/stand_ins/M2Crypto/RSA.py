class RSAError(Exception):
    pass


def load_pub_key_bio(bio):
    raise NotImplementedError("M2Crypto is not here: no privileged_key can be checked")
