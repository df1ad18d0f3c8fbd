"""What a worker is as a process: random numbers of its own, signals, children, threads."""

import os
import random
import signal
import subprocess
import threading

import numpy as np
import pytest
import ray

pytestmark = pytest.mark.usefixtures("cluster")


@ray.remote(num_cpus=0)
class Process:
    def draw(self):
        return random.random(), float(np.random.rand()), int(np.random.randint(1 << 62))

    def signals(self):
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        return signal.getsignal(signal.SIGCHLD), set(blocked), signal.getsignal(signal.SIGINT)

    def run_command(self):
        return subprocess.run(["sh", "-c", "echo out; exit 3"], capture_output=True, check=False)

    def fork(self):
        reader, writer = os.pipe()
        lock = threading.Lock()
        pid = os.fork()
        if pid == 0:
            with lock:
                mine = (threading.current_thread() is threading.main_thread(), random.random())
            os.write(writer, repr(mine).encode())
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        return status, eval(os.read(reader, 1000)), random.random()


def test_random_numbers_differ_between_workers():
    actors = [Process.remote() for _ in range(4)]
    draws = ray.get([actor.draw.remote() for actor in actors])
    for numbers in zip(*draws, strict=True):
        assert len(set(numbers)) == len(actors)


def test_signals_come_through():
    child, blocked, interrupt = ray.get(Process.remote().signals.remote())
    # Ray's workers block SIGINT in the main thread.
    assert child is signal.SIG_DFL and not blocked - {signal.SIGINT} and interrupt is not signal.SIG_IGN


def test_a_worker_runs_commands():
    done = ray.get(Process.remote().run_command.remote())
    assert (done.returncode, done.stdout) == (3, b"out\n")


def test_a_workers_own_fork_is_a_process_of_its_own():
    status, (is_main_thread, childs_number), parents_number = ray.get(Process.remote().fork.remote())
    assert status == 0 and is_main_thread
    assert childs_number != parents_number
