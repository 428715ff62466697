import unittest
class Tests(unittest.TestCase):
    def test_right(self): self.assertEqual(1, 1)
    def test_wrong(self): self.assertEqual(1, 2)
    @unittest.skip('why not')
    def test_skipped(self): pass
if __name__ == '__main__':
    program = unittest.main(exit=False, verbosity=0, testRunner=unittest.TextTestRunner(stream=open('log', 'w')))
    print(program.result.testsRun, len(program.result.failures), len(program.result.skipped))
    raise SystemExit(not program.result.wasSuccessful())
