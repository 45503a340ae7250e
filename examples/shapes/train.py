"""`python -m examples.shapes.train --out DIR`: trains the shapes model and writes it as a diffusers folder.

Four stages, each with its own number of steps: the text encoder learns to answer questions about captions; UNet and
text encoder learn to denoise; the decoder learns to draw latents, the encoder to find them.
"""

import copy
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.shapes import networks
from examples.shapes.batches import LABEL_SIZES, Batch, random_batch
from examples.shapes.export import export_model
from examples.shapes.tokenizer import write_tokenizer

CAPTION_DROPOUT = 0.12
"""Share of captions left out, so that guidance has something to steer away from."""

MIN_SNR_GAMMA = 5.0
QUESTION_WEIGHT = 0.01
LATENT_NOISE = 0.06
DECODER_NOISE = (0.02, 0.05, 0.1)
LOG_VARIANCE = -5.6
"""The encoder's answer for the logarithm of its latents' variance: that of `LATENT_NOISE`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps and batch size of each stage. The defaults take hours on two cores."""

    text_steps: int = 900
    denoise_steps: int = 6000
    decoder_steps: int = 20000
    encoder_steps: int = 2400
    text_batch: int = 64
    denoise_batch: int = 32
    picture_batch: int = 8


def train(out: Path, plan: Plan, seed: int, tell: Callable[[str], None]) -> None:
    """Trains a model from nothing.

    Args:
        out: diffusers folder to write.
        plan: Steps and batch sizes.
        seed: Decides weights, examples and noise; on one machine the same seed gives the same model.
        tell: Called with a line of progress now and then.
    """
    from transformers import CLIPTokenizer

    torch.manual_seed(seed)
    rng = random.Random(seed)
    write_tokenizer(out / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(out / "tokenizer")

    def tokenize(captions: list[str]) -> Tensor:
        options = {"padding": "max_length", "truncation": True, "max_length": networks.TOKENS, "return_tensors": "pt"}
        tokens: Tensor = tokenizer(captions, **options)["input_ids"]
        return tokens

    def batches(size: int, count: int) -> Iterable[Batch]:
        return (random_batch(size, rng, tokenize) for _ in range(count))

    text_encoder, unet, autoencoder = networks.text_encoder(len(tokenizer)), networks.unet(), networks.autoencoder()
    questions = nn.Linear(networks.TEXT_WIDTH, sum(LABEL_SIZES))
    scale = 1 / float(random_batch(1000, rng, tokenize).latents.std())

    tell("text encoder")
    _fit(
        nn.ModuleList([text_encoder, questions]),
        batches(plan.text_batch, plan.text_steps),
        lambda batch: _question_loss(text_encoder, questions, batch.tokens, batch.labels),
        plan.text_steps,
        rate=2e-3,
        tell=tell,
    )
    tell("UNet and text encoder")
    untold = tokenize([""])
    _fit(
        nn.ModuleList([unet, text_encoder, questions]),
        batches(plan.denoise_batch, plan.denoise_steps),
        lambda batch: _denoise_loss(unet, text_encoder, questions, batch, untold, scale),
        plan.denoise_steps,
        rate=1e-3,
        tell=tell,
    )
    tell("decoder")
    _fit(
        nn.ModuleList([autoencoder.decoder, autoencoder.post_quant_conv]),
        batches(plan.picture_batch, plan.decoder_steps),
        lambda batch: _decoder_loss(autoencoder, batch),
        plan.decoder_steps,
        rate=1e-3,
        tell=tell,
    )
    tell("encoder")
    _fit(
        nn.ModuleList([autoencoder.encoder, autoencoder.quant_conv]),
        batches(plan.picture_batch, plan.encoder_steps),
        lambda batch: _encoder_loss(autoencoder, batch),
        plan.encoder_steps,
        rate=2e-3,
        tell=tell,
    )
    autoencoder.register_to_config(scaling_factor=scale)
    export_model(out, text_encoder, unet, autoencoder)


def _fit(
    trained: nn.Module,
    batches: Iterable[Batch],
    loss_of: Callable[[Batch], Tensor],
    steps: int,
    rate: float,
    tell: Callable[[str], None],
) -> None:
    """AdamW with a short warm-up and a cosine to 3 %; leaves the running mean of the weights (EMA) in the module."""
    optimizer = torch.optim.AdamW(trained.parameters(), rate, betas=(0.9, 0.99), weight_decay=0.01)
    warm_up = max(1, min(100, steps // 10))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1, (step + 1) / warm_up) * (0.515 + 0.485 * math.cos(math.pi * step / steps)),
    )
    mean = copy.deepcopy(trained)
    for step, batch in enumerate(batches, 1):
        optimizer.zero_grad()
        loss = loss_of(batch)
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for averaged, current in zip(mean.parameters(), trained.parameters(), strict=True):
                averaged.lerp_(current, 1 - min(0.995, (1 + step) / (10 + step)))
        if step % 100 == 0 or step == steps:
            tell(f"  step {step} of {steps}, loss {loss.item():.4f}")
    trained.load_state_dict(mean.state_dict())


def _question_loss(text_encoder: Any, questions: nn.Module, tokens: Tensor, labels: Tensor) -> Tensor:
    """How badly the state of each caption's last token answers what is in the picture."""
    states = text_encoder(tokens).pooler_output
    answers = questions(states).split(LABEL_SIZES, dim=1)
    losses = [functional.cross_entropy(answer, label) for answer, label in zip(answers, labels.T, strict=True)]
    return torch.stack(losses).sum()


def _denoise_loss(
    unet: Any, text_encoder: Any, questions: nn.Module, batch: Batch, untold: Tensor, scale: float
) -> Tensor:
    """Mean squared error of the predicted noise, weighted by min-SNR (Hang et al., 2023)."""
    size = len(batch.latents)
    clean = (batch.latents + LATENT_NOISE * torch.randn_like(batch.latents)) * scale
    steps = ((torch.arange(size) + torch.rand(size)) / size * networks.TRAIN_STEPS).long()
    kept = _kept_variance()[steps].reshape(-1, 1, 1, 1)
    noise = torch.randn_like(clean)
    noisy = kept.sqrt() * clean + (1 - kept).sqrt() * noise

    dropped = torch.rand(size, 1) < CAPTION_DROPOUT
    states = text_encoder(torch.where(dropped, untold, batch.tokens)).last_hidden_state
    predicted = unet(noisy, steps, states, return_dict=False)[0]
    ratio = (kept / (1 - kept)).flatten()
    weights = ratio.clamp(max=MIN_SNR_GAMMA) / ratio
    error = (predicted - noise).square().mean(dim=(1, 2, 3))
    asked = _question_loss(text_encoder, questions, batch.tokens, batch.labels)
    loss: Tensor = (weights * error).mean() + QUESTION_WEIGHT * asked
    return loss


def _kept_variance() -> Tensor:
    """Share of the picture's variance left at each training step ("alphas cumprod")."""
    roots = torch.linspace(networks.BETA_START**0.5, networks.BETA_END**0.5, networks.TRAIN_STEPS)
    return torch.cumprod(1 - roots.square(), dim=0)


def _decoder_loss(autoencoder: Any, batch: Batch) -> Tensor:
    """Errors of colours and of edges, where there is a thing six times as heavy as elsewhere."""
    spread = DECODER_NOISE[int(torch.randint(len(DECODER_NOISE), ()))]
    latents = batch.latents + spread * torch.randn_like(batch.latents)
    error = autoencoder.decode(latents, return_dict=False)[0] - batch.pixels
    weights = functional.interpolate(1 + 5 * (batch.latents[:, 3:].abs() > 0.2).float(), scale_factor=8)
    weights = weights / weights.mean()
    down = ((error[..., 1:, :] - error[..., :-1, :]).abs() * weights[..., 1:, :]).mean()
    right = ((error[..., 1:] - error[..., :-1]).abs() * weights[..., 1:]).mean()
    loss: Tensor = (error.abs() * weights).mean() + (error.square() * weights).mean() + 0.5 * (down + right)
    return loss


def _encoder_loss(autoencoder: Any, batch: Batch) -> Tensor:
    found, log_variance = autoencoder.quant_conv(autoencoder.encoder(batch.pixels)).chunk(2, dim=1)
    error = found - batch.latents
    loss: Tensor = error.square().mean() + error.abs().mean() + 0.02 * (log_variance - LOG_VARIANCE).abs().mean()
    return loss


@click.command()
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="diffusers folder to write."
)
@click.option("--seed", default=1, show_default=True)
@click.option("--share", default=1.0, show_default=True, help="Share of each stage's steps, to try things out.")
def main(out: Path, seed: int, share: float) -> None:
    """Trains the shapes model from nothing."""
    full = Plan()
    plan = Plan(
        text_steps=math.ceil(share * full.text_steps),
        denoise_steps=math.ceil(share * full.denoise_steps),
        decoder_steps=math.ceil(share * full.decoder_steps),
        encoder_steps=math.ceil(share * full.encoder_steps),
    )
    train(out, plan, seed, click.echo)


if __name__ == "__main__":
    main()
