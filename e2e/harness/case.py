"""What the tests share: a test class with a running stack of its own, watched for complaints of nginx."""

import unittest

from .stack import Stack


class StackCase(unittest.TestCase):
    """One stack for the class, made with `options`. Afterwards nginx must have neither complained nor lost a
    worker."""

    options = {}
    # What this class provokes on purpose: regular expressions of lines in the error log.
    expected_complaints = ()

    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(**cls.options)
        cls.addClassCleanup(cls.stack.stop)

    @classmethod
    def tearDownClass(cls):
        complaints = cls.stack.nginx.complaints(cls.expected_complaints)
        assert not complaints, "nginx complained:\n" + "\n".join(complaints[:20])
