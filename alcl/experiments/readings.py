"""The other readings of "downstream": each judges one trained autoencoder, beside the logistic probe of `evaluation`.

`judge` gives them all at once, so that a network is trained once and read in every way. What is fixed here is fixed for
every loss, level and data set, and was fixed before a loss was compared by it.

Costs. A run of the benchmark trains for 5 to 6 s on gray and 9 to 11 s on colour images (one thread of the machine
these were measured on). All readings together are to cost less than that, in tuning too, where they are taken of every
setting. Seconds on mnist, cifar10 at high noise: PSNR and SSIM 0.4, 1.2; logistic probe 0.4, 0.3 (up to 2 where it is
slow to converge); 5 nearest neighbours among 10,000 codes 0.2, 0.2; perceptron of 64 units, 20 epochs 0.3, 0.3;
fine-tuning, 10 epochs (half as many as the autoencoder had) 1.3, 1.6; the clean classifier on 5,000 reconstructions
1.0, 1.0. The classifier itself is trained once a process and data set, for about 25 s: on 30,000 clean training images,
8 epochs (97 % right on clean mnist). A better one might rank reconstructions otherwise; all losses share this one.
"""

from __future__ import annotations

import copy
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import evaluation
from .models import Autoencoder

#: Readings that are accuracies, in [0, 1], in the order of tables: on codes (the first four), on reconstructions.
CODE_READINGS = ("accuracy", "knn", "mlp", "finetuned")
READINGS = (*CODE_READINGS, "restored")
#: All measures of a run that asks for all: larger is better, in all but the last.
ALL_MEASURES = ("psnr", "ssim", *READINGS, "noisy_error")

#: Every random choice of the readings: the same for all losses and seeds.
SEED = 20_260
NEIGHBOURS = 5
MLP_HIDDEN, MLP_EPOCHS, MLP_BATCH = 64, 20, 200
FINETUNE_EPOCHS, FINETUNE_BATCH, FINETUNE_LR = 10, 128, 1e-3
CLASSIFIER_EPOCHS, CLASSIFIER_BATCH, CLASSIFIER_LR = 8, 64, 1e-3
CLASSIFIER_IMAGES = 30_000
#: Codes that are wider than any network's here (pixels, of the baseline without a network) get a logistic regression
#: of so many steps: on 3,072 pixels its limit would cost more than ten trainings, and it is the worse for overfitting.
WIDE, WIDE_ITERATIONS = 512, 100


def neighbours_accuracy(train_codes: Tensor, train_labels: Tensor, test_codes: Tensor, test_labels: Tensor) -> float:
    """Accuracy in [0, 1] of the vote of the 5 nearest (standardised) training codes, in Euclidean distance.

    Codes (N, code), labels (N,). Codes that are not finite score 0, as for `evaluation.probe_accuracy`.
    """
    from sklearn.neighbors import KNeighborsClassifier

    return _scored(
        KNeighborsClassifier(NEIGHBOURS, algorithm="brute"), train_codes, train_labels, test_codes, test_labels
    )


def mlp_accuracy(train_codes: Tensor, train_labels: Tensor, test_codes: Tensor, test_labels: Tensor) -> float:
    """Accuracy in [0, 1] of a perceptron with one hidden layer of 64 units, fitted to the standardised training codes.

    scikit-learn's, with Adam at its defaults, 20 epochs of batches of 200. Arguments as for `neighbours_accuracy`.
    """
    from sklearn.neural_network import MLPClassifier

    perceptron = MLPClassifier(
        (MLP_HIDDEN,), batch_size=min(MLP_BATCH, len(train_codes)), max_iter=MLP_EPOCHS, random_state=SEED
    )
    return _scored(perceptron, train_codes, train_labels, test_codes, test_labels)


def _scored(classifier, train_codes: Tensor, train_labels: Tensor, test_codes: Tensor, test_labels: Tensor) -> float:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if not (torch.isfinite(train_codes).all() and torch.isfinite(test_codes).all()):
        return 0.0
    pipeline = make_pipeline(StandardScaler(), classifier)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is what is fixed
        pipeline.fit(train_codes.cpu().float().numpy(), train_labels.cpu().numpy())
    return float(pipeline.score(test_codes.cpu().float().numpy(), test_labels.cpu().numpy()))


def finetuned_accuracy(
    encoder: nn.Module, train_images: Tensor, train_labels: Tensor, test_images: Tensor, test_labels: Tensor
) -> float:
    """Accuracy in [0, 1] of a copy of the encoder with a softmax layer on its codes, both trained on labels.

    Cross-entropy, Adam at 1e-3, 10 epochs of batches of 128; `encoder` itself stays as it is. The layer starts at zero,
    and the codes enter it standardised by their mean and deviation before training, so that their unit does not decide
    how fast it learns. Images (N, C, H, W), labels (N,) from 0. An encoder whose codes are not finite scores 0.
    """
    with torch.no_grad():
        codes = evaluation.in_batches(encoder, train_images)
        if not torch.isfinite(codes).all():
            return 0.0
        deviation, mean = torch.std_mean(codes, dim=0, correction=0)
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    head = nn.Linear(codes.shape[1], classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    model = nn.Sequential(copy.deepcopy(encoder), _Standardised(mean, deviation), head)
    model.requires_grad_(True)
    _fit_classifier(model, train_images, train_labels, FINETUNE_EPOCHS, FINETUNE_BATCH, FINETUNE_LR)
    return classified(model, test_images, test_labels)


class _Standardised(nn.Module):
    """(x - mean) / deviation with constants; what does not vary is only shifted."""

    def __init__(self, mean: Tensor, deviation: Tensor):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", torch.where(deviation > 1e-6, deviation, 1))

    def forward(self, codes: Tensor) -> Tensor:
        return (codes - self.mean) / self.deviation


def make_classifier(image_shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """A small convolutional classifier of images in [0, 1], (N, C, H, W) to (N, classes), drawn from `SEED`.

    Two 3 x 3 convolutions (16 and 32 channels), each with ReLU and a 2 x 2 maximum; 128 units; a linear layer.
    """
    channels, height, width = image_shape
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        return nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * (height // 4) * (width // 4), 128),
            nn.ReLU(),
            nn.Linear(128, classes),
        )


def train_classifier(images: Tensor, labels: Tensor, epochs: int = CLASSIFIER_EPOCHS) -> nn.Sequential:
    """`make_classifier` trained on clean images and their labels: Adam at 1e-3, batches of 64, cross-entropy.

    Always the same for the same images, labels and number of threads.
    """
    classifier = make_classifier(tuple(images.shape[1:]), int(labels.max()) + 1)
    _fit_classifier(classifier, images, labels, epochs, CLASSIFIER_BATCH, CLASSIFIER_LR)
    return classifier.eval()


def _fit_classifier(model: nn.Module, images: Tensor, labels: Tensor, epochs: int, batch_size: int, lr: float) -> None:
    generator = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.Adam(model.parameters(), lr, fused=True)
    model.train()
    for _ in range(epochs):
        for index in torch.randperm(len(images), generator=generator).split(batch_size):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(images[index]), labels[index]).backward()
            optimizer.step()
    model.eval()


def classified(classifier: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of images that `classifier` gives their label; images that are not finite have none."""
    scores = evaluation.in_batches(classifier, images)
    right = (scores.argmax(1) == labels) & torch.isfinite(scores).all(1)
    return right.float().mean().item()


def noisy_error(images: Tensor, noisy: Tensor) -> float:
    """Mean absolute difference of reconstructions to the noisy images as the sensor gives them, in float64.

    What a user has who has no clean image. It needs no setting, and an outlier, however far, moves the difference of
    two networks' values by no more than the difference of their outputs there.
    """
    return (images.double() - noisy.double()).abs().mean().item()


def judge(model: Autoencoder, task, classifier: nn.Module) -> dict[str, float]:
    """Every measure of a trained model (see `ALL_MEASURES`). `task`: of `reconstruction.make_task`."""
    images = evaluation.in_batches(model, task.eval_inputs)
    codes = (
        evaluation.in_batches(model.encode, task.train_inputs),
        evaluation.in_batches(model.encode, task.eval_inputs),
    )
    coded = (codes[0], task.train_labels, codes[1], task.eval_labels)
    labelled = (task.train_inputs, task.train_labels, task.eval_inputs, task.eval_labels)
    limit = {"max_iter": WIDE_ITERATIONS} if codes[0].shape[1] > WIDE else {}
    return {
        "psnr": evaluation.psnr(images, task.eval_clean),
        "ssim": evaluation.ssim(images, task.eval_clean),
        "accuracy": evaluation.probe_accuracy(*coded, **limit),
        "knn": neighbours_accuracy(*coded),
        "mlp": mlp_accuracy(*coded),
        "finetuned": finetuned_accuracy(model.encoder, *labelled),
        "restored": classified(classifier, images, task.eval_labels),
        "noisy_error": noisy_error(images, task.eval_targets),
    }
