"""Owns what all training runs share: the clock, the log, the checkpoints, and being stopped and resumed.

It must not know what is trained."""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import distributed, nn

# A step that seems to last longer was a paused process, and the pause costs no budget.
LONGEST_STEP = 20.0
CHECKPOINT_SECONDS = 120.0
LOG_STEPS = 50


class Span:
    """A budget of active time, spent step by step. What is trained overrides `train_step`, and `look` if it has one."""

    # Names of the checkpoint and of the log in the work folder.
    name = "run"
    # The run whose weights this one starts from, with a clock of its own.
    origin = ""
    # Seconds between two calls of `look`.
    look_seconds = 480.0

    def __init__(self, work: Path, minutes: float, network: nn.Module, rate: float, draw: random.Random) -> None:
        self.work = work
        self.budget = minutes * 60
        self.network = network
        self.peak = rate
        self.draw = draw
        self.path = work / f"{self.name}.pt"
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
        )
        self.elapsed = self.saved = self.looked = 0.0
        self.step = 0
        self.stopping = self.ended = False
        self.leads = not distributed.is_initialized() or distributed.get_rank() == 0
        if self.path.exists():
            self.resume()
        elif self.origin:
            self.begin(work / f"{self.origin}.pt")

    @property
    def progress(self) -> float:
        """From 0 to 1."""
        return min(1.0, self.elapsed / self.budget)

    def train_step(self) -> str:
        """One step of the optimiser; returns what to log about it."""
        raise NotImplementedError

    def look(self) -> None:
        """Now and then: see what has been learnt."""

    def rate(self, warm_up: int) -> float:
        """Up within `warm_up` steps, then down to nothing at the end of the budget."""
        return self.peak * min(1.0, (self.step + 1) / warm_up) * max(0.002, 1 - self.progress**2)

    def update(self, loss: torch.Tensor, warm_up: int) -> float:
        """Follow the gradient of `loss` by one step; returns the learning rate."""
        self.optimiser.zero_grad()
        loss.backward()
        self.agree()
        rate = self.rate(warm_up)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        return rate

    def agree(self) -> None:
        """Several processes at work: each goes on with the mean of their gradients and of their clocks."""
        if distributed.is_initialized():
            parameters = [one for one in self.network.parameters() if one.requires_grad]
            gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
            state = torch.tensor([self.elapsed, float(self.stopping)])
            together = torch.cat([one.flatten() for one in gradients] + [state])
            distributed.all_reduce(together)
            together /= distributed.get_world_size()
            for one, mean in zip(parameters, together[:-2].split([one.numel() for one in parameters]), strict=True):
                one.grad = mean.view_as(one)
            self.elapsed, self.stopping = float(together[-2]), bool(together[-1] > 0)
        self.ended = self.stopping or self.elapsed >= self.budget

    def begin(self, path: Path) -> None:
        """Start from the weights another run made."""
        state: dict[str, Any] = torch.load(path, weights_only=False)
        self.network.load_state_dict(state["network"])
        self.say(f"going on from what {state['step']} steps of {path.name} made")

    def resume(self) -> None:
        """Take up the last checkpoint; the schedule follows the budget given now."""
        state: dict[str, Any] = torch.load(self.path, weights_only=False)
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        for group in self.optimiser.param_groups:
            group["fused"], group["foreach"] = True, False
        self.elapsed, self.step = state["elapsed"], state["step"]
        self.saved = self.looked = self.elapsed
        if self.leads:
            self.draw.setstate(state["draw"])
            torch.set_rng_state(state["random"])
        else:
            self.draw.seed(f"{distributed.get_rank()} {self.step}")
            torch.manual_seed(self.draw.getrandbits(32))
        self.say(f"resumed at step {self.step}")

    def save(self) -> None:
        """Write a checkpoint so that being cut off at any moment leaves a whole one."""
        state = {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "elapsed": self.elapsed,
            "step": self.step,
            "draw": self.draw.getstate(),
            "random": torch.get_rng_state(),
        }
        fresh = self.path.with_suffix(".new")
        torch.save(state, fresh)
        fresh.replace(self.path)
        self.saved = self.elapsed

    def say(self, line: str) -> None:
        """One line of progress, to the screen and to the log."""
        if not self.leads:
            return
        text = f"{time.strftime('%H:%M:%S')} {self.elapsed / 60:6.1f} min  {line}"
        print(text, flush=True)
        with (self.work / f"{self.name}.log").open("a", encoding="utf-8") as log:
            log.write(text + "\n")

    def go(self) -> None:
        """Train until the budget is spent."""
        signal.signal(signal.SIGTERM, self.stop)
        if distributed.is_initialized():
            for one in self.network.state_dict().values():
                distributed.broadcast(one, 0)
        self.network.train()
        while not self.ended:
            began = time.monotonic()
            line = self.train_step()
            self.step += 1
            if self.step % LOG_STEPS == 0:
                self.say(f"step {self.step} {self.progress:.3f} {line}")
            self.elapsed += min(time.monotonic() - began, LONGEST_STEP)
            if self.leads and self.elapsed - self.saved > CHECKPOINT_SECONDS:
                self.save()
            if self.leads and self.elapsed - self.looked > self.look_seconds:
                self.looked = self.elapsed
                self.look()
        if self.leads:
            self.save()
        self.say(f"{'stopped' if self.stopping else 'finished'} after {self.step} steps")

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Asked to end: let the step finish, write a checkpoint, leave."""
        self.stopping = True


def options_for(description: str | None, minutes: float) -> argparse.ArgumentParser:
    """The options both runs have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=minutes, help="budget of active time")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rank", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=29511, help="where the processes meet")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def prepare(options: argparse.Namespace, module: str) -> int:
    """Start the other processes and set up torch; returns this process's seed.

    Two processes of one thread each get much more done than one of two: most operations are too small to share."""
    torch.set_num_threads(options.threads)
    seed = int(options.seed + 1000 * options.rank)
    torch.manual_seed(seed)
    # Attention to what is far off makes numbers so small that processors handle them slowly.
    torch.set_flush_denormal(True)
    if options.processes > 1:
        if options.rank == 0:
            for rank in range(1, options.processes):
                subprocess.Popen([sys.executable, "-m", module, *sys.argv[1:], "--rank", str(rank)])
        meeting = f"tcp://127.0.0.1:{options.port}"
        distributed.init_process_group("gloo", init_method=meeting, rank=options.rank, world_size=options.processes)
    return seed
