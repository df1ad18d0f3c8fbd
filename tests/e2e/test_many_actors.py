"""Hundreds of actors: they run, as many as the host holds; the rest waits, is told of, and all of it ends."""

MANY = """
import narke
narke.init(address="local", num_cpus=2, include_dashboard=False)

@narke.remote(num_cpus={num_cpus})
class Counter:
    def __init__(self, start):
        self.count = start
    def add(self):
        self.count += 1
        return self.count

actors = [Counter.remote(i) for i in range(300)]
assert narke.get([actor.add.remote() for actor in actors], timeout=90) == list(range(1, 301))
assert narke.get([actor.add.remote() for actor in actors], timeout=30) == list(range(2, 302))
print("answered", len(actors))
"""

TOO_MANY = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (560, 560))  # room for 30 workers
import narke
narke.init(address="local", num_cpus=2, include_dashboard=False)

@narke.remote(num_cpus=0)
class Named:
    def __init__(self, name):
        self.name = name
    def ask(self):
        return self.name

actors = [Named.remote(i) for i in range(60)]
answers = [actor.ask.remote() for actor in actors]
ready, waiting = narke.wait(answers, num_returns=30, timeout=60)
print("ready", len(ready))
print("more", len(narke.wait(waiting, timeout=0.5)[0]))
for actor, answer in zip(actors, answers):
    if answer in ready:
        narke.kill(actor)
assert narke.get(waiting, timeout=60) == [i for i in range(60) if answers[i] in waiting]
print("all", len(ready) + len(waiting))
"""


class TestManyActors:
    def test_run_side_by_side(self, start):
        driver = start(MANY.format(num_cpus=0))
        assert driver.said("answered", timeout_s=110) == "300"
        assert driver.ended() == 0
        driver.leaves_nothing()

    def test_need_a_cpu_only_to_start(self, start):
        driver = start(MANY.format(num_cpus="None"))
        assert driver.said("answered", timeout_s=110) == "300"
        assert driver.ended() == 0
        driver.leaves_nothing()

    def test_wait_where_the_host_holds_no_more(self, start):
        driver = start(TOO_MANY)
        assert driver.said("ready", timeout_s=90) == "30"
        assert driver.said("more") == "0"
        assert driver.said("all", timeout_s=90) == "60"
        assert driver.ended() == 0
        assert driver.errors.count("starts no more now (its limit on open files") == 1
        driver.leaves_nothing()
