"""A language course in miniature: an LSTM that predicts whether a learner will get an exercise right, in 8 bits.

**The learners are simulated.** A language-learning service (Duolingo's Birdbrain) shows the outline: one model for each
of over a hundred courses, trained offline, quantized to 8-bit integers, and two of them in memory while an A/B test
runs. Its data and its model are not public, so both are made up here: learners have an ability, words a difficulty, and
practice helps. What is real is the quantization: the LSTM's products are ``matmul_int8`` on codes, and its bytes are
those of a file.

References: Hochreiter & Schmidhuber 1997 (LSTM); Piech et al. 2015, "Deep knowledge tracing", for an LSTM over a
learner's answers; Rasch 1960, for ability minus difficulty through a logistic function.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm.auto import tqdm

from course_lib.arguments import whole_number
from course_lib.nets.store import cached
from course_lib.nets.threads import one_thread
from course_lib.numerics import calibrate, quantize
from course_lib.ptq.dynamic import DynamicLinear, Per

__all__ = ["Exercises", "LearnerNet", "QuantizedLearnerNet", "out_of_vocabulary", "simulate_learners",
           "trained_learner_net"]

WORDS = 2000  # of the course that the network is trained on
EMBEDDING, HIDDEN = 63, 128  # with the last answer 192 inputs, three times the 64 that the product reads at once
UNKNOWN_SHARE = 0.02  # of the words while training, which stand as unknown, so that "unknown" is learned too
TRAINING = {"learners": 3000, "steps": 40, "epochs": 5, "batch_size": 100, "lr": 5e-3, "version": 1}


class Exercises(NamedTuple):
    """What simulated learners did: a row a learner, a column an exercise.

    words : (n, steps) int64, the word that was asked
    correct : (n, steps) bool, whether the answer was right
    probability : (n, steps) float32, with which it was: the truth, which no data set has
    """

    words: np.ndarray
    correct: np.ndarray
    probability: np.ndarray


def simulate_learners(learners: int, steps: int, *, rng: np.random.Generator, words: int = WORDS) -> Exercises:
    """Let simulated learners do exercises.

    P(right) = 1 / (1 + exp(−(0.5 + ability − difficulty + 0.7 ln(1 + how often the word was practised)))): the ability
    of each learner and the difficulty of each word are normal. Difficulties belong to the course, and are the same in
    every call. Words come by Zipf's law: the k-th with a probability proportional to 1 / (k + 20).

    Parameters
    ----------
    learners, steps : int, 1 or more
    rng : numpy.random.Generator
    words : int, from 1; words beyond the ``WORDS`` of the course are new, and no network has seen them

    Returns
    -------
    Exercises

    Raises
    ------
    TypeError, ValueError
        A number below 1; ``rng`` is no generator.
    """
    learners, steps = whole_number(learners, "learners", 1), whole_number(steps, "steps", 1)
    words = whole_number(words, "words", 1)
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng is a {type(rng).__name__}; it should be a NumPy generator: np.random.default_rng(0)")
    difficulty = np.random.default_rng(2023).normal(0, 1.2, size=words)
    ability = rng.normal(size=learners)
    asked = rng.choice(words, size=(learners, steps), p=_zipf(words))
    practised = np.zeros((learners, words), np.int32)
    probability, each = np.empty((learners, steps), np.float32), np.arange(learners)
    for step, word in enumerate(asked.T):
        probability[:, step] = _sigmoid(0.5 + ability - difficulty[word] + 0.7 * np.log1p(practised[each, word]))
        practised[each, word] += 1
    return Exercises(asked, rng.random(asked.shape) < probability, probability)


def _zipf(words):
    weight = 1 / (np.arange(words) + 20)
    return weight / weight.sum()


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def out_of_vocabulary(weeks: int, *, refresh_every: int, new_words: int = 25, exercises: int = 20_000,
                      rng: np.random.Generator) -> list[float]:
    """The share of a week's exercises that ask a word which the network in use has never seen. Simulated.

    The course grows by ``new_words`` words a week, each put at a random place among the old ones, so it is asked as
    often as any. Every ``refresh_every`` weeks the network is trained anew on all words there are.

    Parameters
    ----------
    weeks, refresh_every, exercises : int, 1 or more;  new_words : int, 0 or more
    rng : numpy.random.Generator

    Returns
    -------
    list of float, a share for each week, 0 in the week of a refresh
    """
    weeks, refresh_every = whole_number(weeks, "weeks", 1), whole_number(refresh_every, "refresh_every", 1)
    exercises, new_words = whole_number(exercises, "exercises", 1), whole_number(new_words, "new_words", 0)
    known = np.ones(WORDS, bool)
    shares = []
    for week in range(weeks):
        if week % refresh_every == 0:
            known[:] = True
        shares.append(float(np.mean(~known[rng.choice(len(known), size=exercises, p=_zipf(len(known)))])))
        known = np.insert(known, rng.integers(0, len(known) + 1, size=new_words), False)
    return shares


class LearnerNet(nn.Module):
    """words and answers so far -> P(right) of each exercise, from what came before it.

    An embedding of the word (one more for unknown words), beside it the last answer (+1 right, −1 wrong, 0 at the
    start); one LSTM; one linear layer.
    """

    def __init__(self, words: int = WORDS, *, generator: torch.Generator | None = None):
        super().__init__()
        self.words = words
        with torch.device("meta"):  # where nothing is drawn: torch's global generator stays as it is
            self.embedding = nn.Embedding(words + 1, EMBEDDING)
            self.lstm = nn.LSTM(EMBEDDING + 1, HIDDEN, batch_first=True)
            self.out = nn.Linear(HIDDEN, 1)
        self.to_empty(device="cpu")
        generator = torch.Generator("cpu").manual_seed(0) if generator is None else generator
        with torch.no_grad():
            for value in self.parameters():
                value.uniform_(-(HIDDEN**-0.5), HIDDEN**-0.5, generator=generator)

    def logits(self, words: torch.Tensor, correct: torch.Tensor) -> torch.Tensor:
        """The logit of P(right), (n, steps).   words: (n, steps) int64, correct: (n, steps) bool"""
        words = torch.where(words < self.words, words, self.words)  # what is new stands as unknown
        last = torch.nn.functional.pad(2.0 * correct[:, :-1] - 1, (1, 0))
        hidden, _ = self.lstm(torch.cat([self.embedding(words), last[:, :, None]], dim=2))
        return self.out(hidden)[:, :, 0]

    def forward(self, words: torch.Tensor, correct: torch.Tensor) -> torch.Tensor:
        """P(right), (n, steps)."""
        return torch.sigmoid(self.logits(words, correct))

    @torch.inference_mode()
    def predict(self, words: np.ndarray, correct: np.ndarray) -> np.ndarray:
        """P(right) as an array, (n, steps) float32: each from the word and from the answers before it."""
        return self(torch.from_numpy(words), torch.from_numpy(correct)).numpy()

    @property
    def nbytes(self) -> int:
        """Bytes of the parameters in memory."""
        return sum(value.numel() * value.element_size() for value in self.parameters())

    def save(self, path: str | Path) -> int:
        """Write one safetensors file and return its size, in bytes."""
        safetensors.torch.save_file(self.state_dict(), path)
        return Path(path).stat().st_size


def trained_learner_net(*, seed: int = 0, progress: bool = True) -> LearnerNet:
    """The network of the course, from the cache, or trained now (some seconds) and kept.

    Parameters
    ----------
    seed : int, of the learners, the first weights and the order; two seeds give two models to compare
    progress : bool, show a bar
    """
    seed = whole_number(seed, "seed", 0)

    def load(path):
        net = LearnerNet()
        net.load_state_dict(safetensors.torch.load(path.read_bytes()))
        return net.eval()

    return cached("learner_lstm", {**TRAINING, "seed": seed}, lambda: _train(seed, progress),
                  save=lambda net, path: net.save(path), load=load)


@one_thread()
@torch.inference_mode(False)
@torch.enable_grad()
def _train(seed, progress):
    learners, steps, epochs, batch_size, lr, _ = TRAINING.values()
    rng, generator = np.random.default_rng(seed), torch.Generator("cpu").manual_seed(seed)
    data = simulate_learners(learners, steps, rng=rng)
    words, correct = torch.from_numpy(data.words), torch.from_numpy(data.correct)
    net = LearnerNet(generator=generator)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr, fused=True)
    batches = epochs * (learners // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=batches)
    with tqdm(total=batches, desc="training the LSTM", unit="batch", disable=not progress, leave=False) as bar:
        for _ in range(epochs):
            for some in torch.randperm(learners, generator=generator).split(batch_size):
                unknown = torch.rand(words[some].shape, generator=generator) < UNKNOWN_SHARE
                logits = net.logits(torch.where(unknown, net.words, words[some]), correct[some])
                loss = binary_cross_entropy_with_logits(logits, correct[some].float())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
    return net.eval()


class State(NamedTuple):
    """What an LSTM remembers of each learner: h and c, (n, HIDDEN) float32."""

    h: np.ndarray
    c: np.ndarray


class QuantizedLearnerNet:
    """The same network with 8-bit weights, and with activations quantized dynamically: products are on codes.

    The matrices of input and memory stand beside each other, so that a step is one product: [x, h] is turned into
    8-bit codes, with a range for each learner, and meets 4 · 128 rows of codes. Gates and memory are real numbers.

    Parameters
    ----------
    net : LearnerNet
    """

    def __init__(self, net: LearnerNet):
        if not isinstance(net, LearnerNet):
            raise TypeError(f"net is a {type(net).__name__}; it should be a LearnerNet, which "
                            "trained_learner_net gives")
        part = {name: value.detach().numpy() for name, value in net.state_dict().items()}
        self.words, self.arrays = net.words, {}
        self.gates = self._linear("gates", np.hstack([part["lstm.weight_ih_l0"], part["lstm.weight_hh_l0"]]),
                                  part["lstm.bias_ih_l0"] + part["lstm.bias_hh_l0"])
        self.out = self._linear("out", part["out.weight"], part["out.bias"])
        self.embedding = self._codes("embedding", part["embedding.weight"])

    def _codes(self, name, weight):
        """(codes, qparams) of a matrix: 8 bits, one scale a row; kept for the file."""
        qparams = calibrate(weight, bits=8, granularity="per_channel", axis=0)
        codes = quantize(weight, qparams)
        self.arrays |= {f"{name}.codes": codes, f"{name}.scale": qparams.scale}
        return codes, qparams

    def _linear(self, name, weight, bias):
        self.arrays[f"{name}.bias"] = bias
        return DynamicLinear(*self._codes(name, weight), bias)

    def start(self, learners: int) -> State:
        """The memory of learners who have answered nothing yet."""
        return State(*np.zeros((2, learners, HIDDEN), np.float32))

    def step(self, words: np.ndarray, last: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """One prediction for each learner: P(right) (n,) float32, and the new memory.

        words : (n,) int64;  last : (n,) float32, the last answer: +1 right, −1 wrong, 0 none yet
        """
        codes, qparams = self.embedding
        some = np.where(words < self.words, words, self.words)
        x = np.hstack([codes[some] * qparams.scale[some, None], last[:, None], state.h])
        i, f, g, o = np.split(self.gates(x, per=Per.IMAGE), 4, axis=1)
        c = _sigmoid(f) * state.c + _sigmoid(i) * np.tanh(g)
        h = _sigmoid(o) * np.tanh(c)
        return _sigmoid(self.out(h, per=Per.IMAGE)[:, 0]), State(h, c)

    def predict(self, words: np.ndarray, correct: np.ndarray) -> np.ndarray:
        """P(right), (n, steps) float32, as ``LearnerNet.predict``."""
        state, last, found = self.start(len(words)), np.zeros(len(words), np.float32), []
        for word, right in zip(words.T, correct.T):
            p, state = self.step(word, last, state)
            found.append(p)
            last = np.where(right, np.float32(1), np.float32(-1))
        return np.stack(found, axis=1)

    @property
    def nbytes(self) -> int:
        """Bytes in memory: codes in the order in which the product reads them, scales, sums, biases, embedding."""
        codes, qparams = self.embedding
        linear = sum(one.weights.nbytes + one.scale.nbytes + one.row_sums.nbytes + one.bias.nbytes
                     for one in (self.gates, self.out))
        return linear + codes.nbytes + qparams.scale.nbytes

    def save(self, path: str | Path) -> int:
        """Write one safetensors file and return its size, in bytes."""
        safetensors.numpy.save_file(self.arrays, path)
        return Path(path).stat().st_size
