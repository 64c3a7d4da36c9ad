class MemoryBuffer(object):
    def __init__(self, data=None):
        raise NotImplementedError("M2Crypto is not here: no privileged_key can be read")
