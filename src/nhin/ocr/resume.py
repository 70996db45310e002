"""Which settings of a reader's run may change when it is resumed, and hashes of its data."""

from pathlib import Path

from nhin.data.images.datasets import list_files
from nhin.data.images.synthetic import EDITION
from nhin.errors import DataError
from nhin.files import hash_files
from nhin.image.fonts import find_faces
from nhin.ocr.recipe import OCRDataConfig
from nhin.training.resume import TRAINER_RULES, ResumeRules

OCR_RULES = ResumeRules(
    changeable=TRAINER_RULES.changeable
    | {
        "model.dropout",
        "model.ctc",
        "model.token_noise",
        "data.fonts",  # the contents of these three are compared by their hashes
        "data.words",
        "data.real",
        "data.real_share",
        "data.cache",
        "data.workers",
        "data.prefetch",
        "training.jitter",
        "training.validate_crops",
    },
    # The position in the data counts chunks and the batches in them, which these settings form.
    fixed=TRAINER_RULES.fixed
    | {"workflow", "charset", "model", "data.seed", "data.synth", "data.chunk", "data.cycle"}
    | {"data.repeats", "data.spacing", "data.vary"}
    | {"training.batch_pixels", "training.batch_crops", "training.fixed_shapes", "training.start"},
)


def hash_sources(data: OCRDataConfig) -> dict[str, str]:
    """Return hashes of everything that the samples are drawn from, by name.

    Raises:
        DataError: A file cannot be read.
    """
    hashes: dict[str, str] = {}
    try:
        if not data.real or data.real_share < 1.0:
            hashes["fonts"] = hash_files(dict.fromkeys(Path(face.path) for face in find_faces(data.fonts)))
            hashes["word lists"] = hash_files(map(Path, data.words))
            hashes["drawing"] = str(EDITION)
        if data.real:
            hashes["labeled crops"] = hash_files(path for place in data.real for path in list_files(place))
    except OSError as why:
        raise DataError(f"cannot read {why.filename}: {why.strerror or why}") from why
    return hashes
