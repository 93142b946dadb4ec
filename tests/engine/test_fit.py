from __future__ import annotations

import copy
import io

import pytest
import torch
from timm.utils import ModelEmaV3
from torch import nn

from comp.engine import distributed
from comp.engine.fit import Epoch, FitOptions, Step, TrainData, TrainState, fit, prepare_batch
from comp.engine.mixup import Mix
from comp.engine.optim import ScheduleOptions, make_optimizer, make_schedule
from comp.schema import Loss
from comp.tasks.losses import class_loss
from comp.zoo.build import build_model

CPU = torch.device("cpu")
LEARNING_RATE = 1e-2
IMAGES = torch.randint(0, 256, (40, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 4
PLAIN = class_loss(Loss(), LABELS.numpy(), 4, CPU)


def plain_network() -> nn.Module:
    """A model without BatchNorm and dropout, so that accumulated small batches must equal one large batch."""
    torch.manual_seed(1)
    layers = nn.Conv2d(3, 8, 3), nn.SiLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4)
    return nn.Sequential(*layers).double()


def noisy_network() -> nn.Module:
    torch.manual_seed(1)
    return build_model("sharif_deep_efficientnet", 4, dropout=0.5, drop_path=0.3)


def prepare(images):
    return images.permute(0, 3, 1, 2).float().sub(128).div(64)


def prepare_double(images):
    return prepare(images).double()


def make_state(model: nn.Module, optimizer: str = "adamw", lr: float = 1e-2, ema: float | None = None) -> TrainState:
    return TrainState(
        model,
        make_optimizer(model, optimizer, lr=lr, weight_decay=0.01, momentum=0.9),
        torch.amp.GradScaler("cpu", enabled=False),
        ModelEmaV3(model, ema, use_warmup=True) if ema else None,
    )


def train(
    state: TrainState,
    *,
    images: int = 40,
    batch: int = 8,
    epochs: int = 2,
    prepare=prepare_double,
    loss=PLAIN,
    schedule="constant",
    warmup: float = 0.0,
    mix: Mix | None = None,
    **changes,
):
    steps = -(-images // batch)

    def batches(requested: range):
        for step in requested:
            rows = slice(step % steps * batch, min((step % steps + 1) * batch, images))
            yield IMAGES[rows], LABELS[rows]

    lr_at = make_schedule(
        ScheduleOptions(
            schedule,
            lr=LEARNING_RATE,
            min_lr=1e-6,
            epochs=epochs,
            warmup_epochs=warmup,
            gamma=0.5,
            step_epochs=1,
            patience=1,
        )
    )
    options = FitOptions(epochs=epochs, device=CPU, precision="fp32", rng_key=(7, 0), **changes)
    for event in fit(state, TrainData(batches, prepare, steps), options, loss=loss, lr_at=lr_at, mix=mix):
        if isinstance(event, Epoch):
            state.history.append({"val_loss": 1.0, "train_loss": event.train_loss, "lr": event.lr})
        yield event


def weights(state: TrainState) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in state.model.state_dict().values()])


@pytest.mark.parametrize("images", [40, 37, 35])
def test_fit_accumulated_batches_equal_one_large_batch(images):
    once, accumulated = make_state(plain_network()), make_state(plain_network())
    list(train(once, images=images, batch=8))
    list(train(accumulated, images=images, batch=2, accumulate=4))
    assert torch.allclose(weights(once), weights(accumulated), rtol=0, atol=1e-12)


def test_fit_small_batches_without_accumulation_differ():
    once, accumulated = make_state(plain_network()), make_state(plain_network())
    list(train(once, batch=8))
    list(train(accumulated, batch=2))
    assert not torch.allclose(weights(once), weights(accumulated), atol=1e-6)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_fit_resumed_from_any_yield_gives_identical_weights(accumulate, schedule):
    """The model and the options use BatchNorm, dropout, stochastic depth, mixup and EMA; all bits must be equal."""

    def resume(state):
        return train(
            state,
            prepare=prepare,
            yield_interval=-1,
            accumulate=accumulate,
            schedule=schedule,
            warmup=0.3,
            mix=Mix(0.4, 1.0, 0, 4),
        )

    whole = make_state(noisy_network(), ema=0.9)
    saved = []
    for _ in resume(whole):
        buffer = io.BytesIO()
        torch.save(whole.state_dict(), buffer)
        saved.append(buffer.getvalue())
    assert len(saved) >= 6
    for snapshot in saved[:-1]:
        resumed = make_state(noisy_network(), ema=0.9)
        resumed.load_state_dict(torch.load(io.BytesIO(snapshot), weights_only=True))
        list(resume(resumed))
        assert torch.equal(weights(resumed), weights(whole))
        assert all(
            torch.equal(a, b)
            for a, b in zip(
                resumed.ema.module.state_dict().values(), whole.ema.module.state_dict().values(), strict=True
            )
        )
        assert resumed.history == whole.history


def test_fit_stopped_before_validation_yields_the_epoch_again():
    state = make_state(plain_network())
    events = train(state)
    first = next(event for event in events if isinstance(event, Epoch))
    state.history.clear()
    again = make_state(plain_network())
    again.load_state_dict(copy.deepcopy(state.state_dict()))
    assert next(train(again)) == first


def test_fit_events_have_epoch_step_and_lr():
    events = list(train(make_state(plain_network()), yield_interval=-1))
    assert [event.step for event in events] == list(range(1, 11))
    assert [type(event) for event in events] == ([Step] * 4 + [Epoch]) * 2
    assert events[4].images == 40 and events[4].lr == 1e-2


def test_fit_learning_rate_is_that_of_the_epochs_done_and_the_validation_losses_so_far():
    state, calls = make_state(plain_network()), []

    def lr_at(done, losses):
        calls.append((done, list(losses)))
        return 0.01 * (len(calls))

    def batches(steps):
        return ((IMAGES[:8], LABELS[:8]) for _ in steps)

    options = FitOptions(epochs=2, device=CPU, precision="fp32", rng_key=(0, 0), accumulate=2, yield_interval=-1)
    for event in fit(state, TrainData(batches, prepare_double, 4), options, loss=PLAIN, lr_at=lr_at):
        assert event.lr == 0.01 * len(calls) == state.optimizer.param_groups[0]["lr"]
        if isinstance(event, Epoch):
            state.history.append({"val_loss": 7.0, "train_loss": event.train_loss})
    assert calls == [(0.0, []), (0.5, []), (1.0, [7.0]), (1.5, [7.0])]


def test_fit_events_have_the_mean_loss_of_their_own_epoch():
    losses = []

    def recorded(logits, targets):
        values = PLAIN(logits, targets)
        losses.append(values.detach())
        return values

    for event in train(make_state(plain_network()), images=37, batch=8, loss=recorded, yield_interval=-1):
        own = torch.cat(losses[event.epoch * 5 :])
        if isinstance(event, Epoch):
            assert event.train_loss == pytest.approx(float(own.mean())) and event.images == 37 == len(own)
        else:
            assert event.loss == pytest.approx(float(own.mean())) and event.steps == 10


def test_fit_shows_the_largest_learning_rate_of_a_layer_wise_decay():
    state = make_state(plain_network())
    first, *others = state.optimizer.param_groups
    first["lr_scale"] = 0.1
    assert others and {event.lr for event in train(state)} == {1e-2} and first["lr"] == pytest.approx(1e-3)


def test_fit_mixes_batches_up_to_off_epoch():
    dimensions = []

    def recorded(logits, targets):
        dimensions.append(targets.ndim)
        return PLAIN(logits, targets)

    list(train(make_state(plain_network()), loss=recorded, epochs=3, mix=Mix(0.4, 0.0, 1, 4)))
    assert dimensions == [2] * 5 + [1] * 10


def test_fit_half_precision_model_has_a_loss_in_single_precision():
    state, seen = make_state(plain_network().float()), []

    def recorded(logits, targets):
        seen.append(logits.detach())
        return PLAIN(logits, targets)

    data = TrainData(lambda steps: ((IMAGES[:8], LABELS[:8]) for _ in steps), prepare, steps_per_epoch=1)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = state.model(prepare(IMAGES[:8]))
    options = FitOptions(epochs=1, device=CPU, precision="bf16", rng_key=(0, 0))
    list(fit(state, data, options, loss=recorded, lr_at=lambda *_: 0.01))
    assert expected.dtype == torch.bfloat16 and seen[0].dtype == torch.float32
    assert torch.equal(seen[0], expected.float())


def test_prepare_batch_masks_depend_on_step_and_rank_and_mixing_on_the_step_alone(monkeypatch):
    def draw(step, rank):
        monkeypatch.setattr(distributed, "rank", lambda: rank)
        mixed = prepare_batch((IMAGES[:8], LABELS[:8]), step, prepare, CPU, (7, 0), Mix(0.4, 0.0, 0, 4))
        return torch.rand(5).tolist(), mixed[1].tolist()

    (masks, targets), (other_rank, same_targets), (other_step, other_targets) = draw(3, 0), draw(3, 1), draw(4, 0)
    assert draw(3, 0) == (masks, targets)
    assert other_rank != masks != other_step and same_targets == targets != other_targets


def test_train_state_with_a_gradient_scaler_clips_unscaled_gradients_and_restores_the_scale():
    plain, scaled = (make_state(nn.Sequential(nn.Flatten(), nn.Linear(768, 4)).double(), "momentum") for _ in range(2))
    scaled.model.load_state_dict(plain.model.state_dict())
    scaled.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    for state in (plain, scaled):
        list(train(state, clip=0.5, epochs=1))
    assert torch.allclose(weights(plain), weights(scaled), atol=1e-8)
    assert scaled.scaler.get_scale() == 4096.0  # doubled after two steps, and after four
    again = make_state(copy.deepcopy(scaled.model), "momentum")
    again.scaler = torch.amp.GradScaler("cpu")
    again.load_state_dict(scaled.state_dict())
    assert again.scaler.get_scale() == 4096.0


def test_fit_random_numbers_depend_on_seed_and_fold_alone():
    def end(rng_key):
        state = make_state(noisy_network())
        torch.manual_seed(rng_key[0] * 100)  # what ran before does not matter
        data = TrainData(lambda steps: ((IMAGES[:8], LABELS[:8]) for _ in steps), prepare, steps_per_epoch=2)
        options = FitOptions(epochs=1, device=CPU, precision="fp32", rng_key=rng_key)
        list(fit(state, data, options, loss=PLAIN, lr_at=lambda *_: 0.01))
        return weights(state)

    assert torch.equal(end((1, 0)), end((1, 0)))
    assert not torch.equal(end((1, 0)), end((1, 1)))
    assert not torch.equal(end((1, 0)), end((2, 0)))


def test_fit_ema_is_the_warmed_up_running_mean():
    state = make_state(plain_network(), ema=0.5)
    mean = {name: value.clone() for name, value in state.model.state_dict().items()}
    step = 0
    for event in train(state, yield_interval=-1, epochs=1):
        step = event.step
        decay = min(0.5, 1 - (1 + step - 1) ** (-2 / 3)) if step > 1 else 0.0
        mean = {name: decay * mean[name] + (1 - decay) * value for name, value in state.model.state_dict().items()}
    assert step == 5 and state.eval_model is state.ema.module
    for name, value in state.ema.module.state_dict().items():
        assert torch.allclose(value, mean[name], atol=1e-10), name


@pytest.mark.parametrize("mode", ["norm", "value"])
def test_fit_first_step_is_sgd_with_the_clipped_gradient(mode):
    state = make_state(nn.Sequential(nn.Flatten(), nn.Linear(768, 4)).double(), "momentum")
    before = copy.deepcopy(state.model)
    PLAIN(before(prepare_double(IMAGES[:8])), LABELS[:8]).mean().backward()
    gradient = before[1].weight.grad
    norm = torch.cat([p.grad.flatten() for p in before.parameters()]).norm()
    event = next(train(state, yield_interval=-1, clip=0.05, clip_mode=mode, epochs=1))
    clipped = gradient * 0.05 / norm if mode == "norm" else gradient.clamp(-0.05, 0.05)
    expected = before[1].weight - event.lr * (clipped + 0.01 * before[1].weight)
    assert norm > 0.05 and gradient.abs().max() > 0.05 and torch.allclose(state.model[1].weight, expected, atol=1e-8)


def test_fit_nan_loss_raises_floating_point_error():
    for value in ("nan", "inf"):
        with pytest.raises(FloatingPointError, match=value):
            list(
                train(
                    make_state(plain_network()),
                    loss=lambda logits, targets: logits.sum(1).abs() + float(value),  # noqa: B023
                )
            )


def test_mix_same_seed_gives_same_images_and_targets_sum_to_one():
    images, labels = prepare(IMAGES[:9]), LABELS[:9]
    for mix in (Mix(0.4, 0.0, 0, 4), Mix(0.0, 1.0, 0, 4)):
        mixed, targets = mix(images.clone(), labels, 5)
        mixed_again, _ = mix(images.clone(), labels, 5)
        assert torch.equal(mixed, mixed_again) and not torch.equal(mixed, mix(images.clone(), labels, 6)[0])
        assert torch.allclose(targets.sum(1), torch.ones(9))
        assert torch.equal(mixed[8], images[8]) and targets[8, labels[8]] == 1  # timm mixes pairs; the odd one stays


def test_mixup_blends_pixels_and_targets_alike():
    images = torch.zeros(2, 3, 4, 4)
    images[1] = 1.0
    mixed, targets = Mix(1.0, 0.0, 0, 2)(images, torch.tensor([0, 1]), 3)
    assert torch.allclose(mixed[0], targets[0, 1]) and torch.allclose(mixed[1], targets[1, 1])  # every pixel
    assert 0 < targets[0, 1] < 1


def test_cutmix_pastes_a_rectangle_and_the_targets_have_its_share():
    images = torch.zeros(2, 3, 16, 16)
    images[1] = 1.0
    mixed, targets = Mix(0.0, 1.0, 0, 2)(images, torch.tensor([0, 1]), 3)
    assert set(mixed.flatten().tolist()) == {0.0, 1.0} and 0 < targets[0, 1] < 1
    assert torch.allclose(mixed[0].mean(), targets[0, 1]) and torch.allclose(mixed[1].mean(), targets[1, 1])


def test_mix_is_inactive_from_off_epoch():
    mix = Mix(0.2, 0.0, 40, 8)
    assert mix.active(39) and not mix.active(40)
    assert not Mix(0.0, 0.0, 0, 8).active(0)
    for always in (Mix(0.2, 0.0, 0, 8), Mix(0.0, 0.2, 0, 8)):
        assert always.active(0) and always.active(1000)


@pytest.mark.parametrize("change", [{"lr": "high"}, {"betas": 0.9}, {"params": [0]}])
def test_train_state_of_another_optimizer_is_a_value_error(change):
    def make_state() -> TrainState:
        model = torch.nn.Linear(3, 2)
        return TrainState(model, torch.optim.AdamW(model.parameters()), torch.amp.GradScaler("cpu", enabled=False))

    saved, state = make_state().state_dict(), make_state()
    state.load_state_dict(saved)
    saved["optimizer"]["param_groups"][0] |= change
    with pytest.raises(ValueError):
        state.load_state_dict(saved)
