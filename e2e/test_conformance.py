"""The conformance suite's names (harness.conformance): through the gate the same pass as at the registry."""

import unittest

from harness.case import StackCase
from harness.conformance import Direct, Suite, Through


class Conformance(StackCase):
    """In Basic mode; bob's registry, asked directly, is as empty as the one that alice has behind the
    gate."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.direct = Suite(Direct(cls.stack.registries["bob"].address), "alice/app", "alice/other").outcomes
        cls.through = Suite(Through(cls.stack, "alice"), "alice/app", "alice/other").outcomes

    def test_the_same_names_pass(self):
        self.assertEqual(*({name for name, outcome in outcomes.items() if outcome.passed}
                           for outcomes in (self.direct, self.through)))

    def test_by_the_same_statuses(self):
        for name, outcome in self.direct.items():
            with self.subTest(name=name):
                self.assertEqual(outcome.statuses, self.through[name].statuses)

    def test_each_category_is_asked(self):
        """Nothing above is equal because nothing works. (docker-registry 2.8 has no referrers and no pages of
        tags, and does not look at Content-Range: ten names fail.)"""
        passed = [name.split(":")[0] for name, outcome in self.through.items() if outcome.passed]
        self.assertEqual(set(passed), {"pull", "push", "content_discovery", "content_management"})
        self.assertGreater(len(passed), 60)


class ConformanceBearer(Conformance):
    options = {"bearer": True}


class ConformanceStore(Conformance):
    """With blobs from the disk of alice's registry."""

    options = {"stores": ("alice",)}


class ConformanceCache(Conformance):
    """With blobs and manifests out of a cache."""

    options = {"blob_cache": True}


if __name__ == "__main__":
    unittest.main()
