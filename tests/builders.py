"""Short ways to make the farm's facts, for tests that care about one or two of their fields."""

import io

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from farm.domain import (
    AttentionVariant,
    ChipClass,
    ComputeUnit,
    DiffusionConfig,
    ImageSpec,
    JobSpec,
    Model,
    ModelOffer,
    ModelVariant,
    Pin,
    Provenance,
    WorkerFacts,
)
from farm.scheduler import events as ev

DEFAULTS = ImageSpec(
    prompt="a red circle",
    seed=7,
    width=64,
    height=64,
    steps=4,
    guidance_scale=2.0,
    sampler="dpmpp-2m",
)

OFFER = ModelOffer("shapes", AttentionVariant.ORIGINAL, "sha256:original", 64, 64)

MODEL = Model(
    name="shapes",
    display_name="Shapes",
    description="A model for tests.",
    variants=(
        ModelVariant(
            model="shapes",
            attention=AttentionVariant.ORIGINAL,
            digest="sha256:original",
            width=64,
            height=64,
            precision="float16",
            size_bytes=1,
            components={},
            tokenizer=None,  # type: ignore[arg-type]  # no test that uses this model reads files
            config=DiffusionConfig(),
        ),
    ),
    defaults=ImageSpec(
        negative_prompt="", width=64, height=64, steps=4, guidance_scale=2.0, sampler="dpmpp-2m", strength=0.8
    ),
)

PROVENANCE = Provenance(
    model="shapes",
    model_digest="sha256:original",
    attention=AttentionVariant.ORIGINAL,
    runtime="portable",
    compute_unit=ComputeUnit.CPU_ONLY,
    chip="Test CPU",
    chip_class=ChipClass.CPU,
    versions={"farm": "0"},
)


def png(text: str = "", width: int = 64, height: int = 64) -> bytes:
    """A PNG of that size that carries a text, so that no two tests' files need be the same."""
    info = PngInfo()
    info.add_text("text", text)
    stream = io.BytesIO()
    Image.new("L", (width, height)).save(stream, "PNG", pnginfo=info)
    return stream.getvalue()


def worker_facts(
    chip_class: ChipClass = ChipClass.CPU,
    compute_units: tuple[ComputeUnit, ...] = (ComputeUnit.CPU_ONLY,),
    offers: tuple[ModelOffer, ...] = (OFFER,),
    **labels: str,
) -> WorkerFacts:
    return WorkerFacts(
        chip="Test CPU",
        chip_class=chip_class,
        gpu_cores=0,
        performance_cores=2,
        has_ane=False,
        memory_bytes=8 << 30,
        os="test",
        runtime="portable",
        compute_units=compute_units,
        offers=offers,
        version="0",
        labels=labels,
    )


def job_spec(model: str = "shapes", priority: int = 0, pin: Pin | None = None) -> JobSpec:
    return JobSpec(model=model, priority=priority, defaults=DEFAULTS, pin=pin or Pin())


def job_opened(
    job_id: str = "j",
    image_count: int = 4,
    time: float = 0.0,
    submitter: str = "alice",
    priority: int = 0,
    pin: Pin | None = None,
) -> ev.JobOpened:
    return ev.JobOpened(
        job_id=job_id,
        time=time,
        spec=job_spec(priority=priority, pin=pin),
        submitter=submitter,
        priority=priority,
        image_count=image_count,
        pending=((0, image_count),),
        succeeded_count=0,
        next_attempt_number=1,
        create_time=time,
    )


def attempt_started(
    job_id: str = "j",
    number: int = 1,
    worker_id: str = "w",
    first_index: int = 0,
    image_count: int = 4,
    time: float = 0.0,
    task_number: int | None = None,
) -> ev.AttemptStarted:
    return ev.AttemptStarted(
        job_id=job_id,
        time=time,
        number=number,
        task_number=number if task_number is None else task_number,
        worker_id=worker_id,
        first_index=first_index,
        image_count=image_count,
        model_digest="sha256:original",
        compute_unit=ComputeUnit.CPU_ONLY,
        attention=AttentionVariant.ORIGINAL,
    )


def image_committed(
    job_id: str = "j", number: int = 1, index: int = 0, worker_id: str = "w", time: float = 0.0, seconds: float = 1.0
) -> ev.ImageCommitted:
    return ev.ImageCommitted(
        job_id=job_id,
        time=time,
        number=number,
        index=index,
        worker_id=worker_id,
        sha256="0" * 64,
        size_bytes=1,
        provenance=PROVENANCE,
        render_seconds=seconds,
    )
