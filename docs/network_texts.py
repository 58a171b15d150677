"""What each family's page says: what the block is for, the formula of its parameters, which network its table shows."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PAGES", "Page"]


@dataclass(frozen=True)
class Page:
    """`shown` is the network of the table, grouped by `depth` parts of the names (None: chosen by `summary`)."""

    title: str
    idea: str
    formula: str
    shown: str
    depth: int | None = None


PAGES: dict[str, Page] = {
    "lenet": Page(
        "LeNet-5",
        "LeNet-5 has two convolutions, each with a pool that halves the plane, and three fully connected layers. A "
        "convolution looks for the same few patterns everywhere, so six filters need 156 parameters, where a linear "
        "layer between the same volumes would need almost five million. Pools make small shifts matter less.",
        "A convolution of N filters of size F×F on M channels has N·(M·F² + 1) parameters: 6·(1·25 + 1) = 156 and "
        "16·(6·25 + 1) = 2,416. A linear layer has out·(in + 1). Most parameters are behind the flatten.",
        "lenet5",
        2,
    ),
    "alexnet": Page(
        "AlexNet and CaffeNet",
        "The first layer shrinks 227×227 images at once with 11×11 kernels of stride 4. The second, fourth and fifth "
        "convolutions have two groups, one for each of two graphics cards: a group sees only its half of the channels. "
        "Local response normalisation damps a value whose neighbour channels are strong. CaffeNet pools before it "
        "normalises; the one-tower form of 2014 has neither groups nor normalisation.",
        "With g groups a convolution has N·(M/g·F² + 1) parameters: conv2 has 256·(48·25 + 1) = 307,456, half of what "
        "it had without groups. CONV1: 96·(3·121 + 1) = 34,944 parameters, side (227 − 11)/4 + 1 = 55. The three "
        "linear layers hold 96 % of the 60,965,224.",
        "alexnet",
        2,
    ),
    "zfnet": Page(
        "ZFNet",
        "ZFNet mends AlexNet: pictures of what AlexNet's filters respond to showed that 11×11 kernels of stride 4 miss "
        "the middle frequencies and alias. ZFNet begins with 7×7 kernels of stride 2 and keeps larger planes, at more "
        "than one and a half times the operations. `zfnet512` widens the last three convolutions to 512, 1024, 512.",
        "N·(M·F² + 1) a convolution: conv1 has 96·(3·49 + 1) = 14,208 parameters against AlexNet's 34,944. Planes: "
        "(224 − 7 + 2)/2 + 1 = 110 (rounded down), pools of 3/2 rounded up give 55 and 13.",
        "zfnet",
        2,
    ),
    "vgg": Page(
        "VGG",
        "VGG has 3×3 convolutions and 2×2 pools only. Two 3×3 layers see as much as one of 5×5, three as much as one "
        "of 7×7, with fewer weights and more ReLUs in between. Each pool halves the side, and the next stage doubles "
        "the channels, up to 512. Early planes take most of the memory, the first linear layer most of the "
        "parameters.",
        "9·M·N weights a layer; for C channels 2·9·C² = 18·C² against 25·C² of one 5×5. FC6 of VGG-16: 7·7·512·4096 = "
        "102,760,448 weights of 138,357,544 parameters. Activations that convolutions read and write and pools write: "
        "24,159,744, or 96.6 MB in float32; the volumes of image, convolutions, pools and linear layers alone add up "
        "to 15,237,608 (61 MB).",
        "vgg16",
        2,
    ),
    "googlenet": Page(
        "GoogLeNet (Inception v1)",
        "An Inception module applies 1×1, 3×3 and 5×5 filters and a pool side by side, and the next layer chooses "
        "among them. Without care the channels grow with every module and the 5×5 filters cost most. So 1×1 "
        "convolutions before them and after the pool reduce the channels. Two auxiliary heads give the middle layers "
        "gradients in training; they do not run in inference.",
        "A branch that reduces M to R channels has M·R + F²·R·N weights instead of F²·M·N. On 256×28×28 with 128, 192, "
        "96 filters: 854 M multiply–adds and 672 channels naively; with 64-filter reductions 271 M and 480 channels. "
        "(Lectures print 358 M, which is this sum with the 3×3 convolution counted twice.)",
        "googlenet",
        2,
    ),
    "inception_v2": Page(
        "Inception v2 (BN-Inception)",
        "Inception v2 is GoogLeNet with batch normalisation after every convolution. 5×5 filters become two of 3×3, "
        "most pools inside the modules average, and the plane shrinks inside two modules of stride 2, which have no "
        "1×1 branch. There is no dropout and no local response normalisation.",
        "5×5: 25·R·N weights; two 3×3: 9·R·N + 9·N². Batch normalisation adds 2 parameters a channel, scale and shift; "
        "its running mean and variance are statistics, not parameters.",
        "inception-v2",
        2,
    ),
    "resnet": Page(
        "ResNet v1 and v2",
        "A block computes what to add to its input instead of a new value. So doing nothing is easy to learn, and "
        "gradients reach the first layers through the sums. From 50 layers on, a bottleneck works on a quarter of the "
        "channels. Where the shape changes, the shortcut is a 1×1 convolution (ImageNet) or takes every second pixel "
        "and pads channels with zeros, without parameters (CIFAR, option A). v2 normalises before it convolves and "
        "leaves the sum alone. The plain networks are the CIFAR form without any shortcut: as many parameters and "
        "operations, and with 56 layers a higher training error than with 20, which is what the block mends.",
        "Basic block: 2·9·C² weights; bottleneck of outer width 4W: 4W·W + 9·W² + W·4W = 17·W². CIFAR form of depth "
        "6n + 2: three stages of n blocks with 16, 32, 64 channels.",
        "resnet50",
        2,
    ),
    "squeezenet": Page(
        "SqueezeNet and SqueezeNet-DSC",
        "A Fire module squeezes the channels with a 1×1 convolution and expands them again with 1×1 and 3×3 filters "
        "side by side, so only few channels enter the costly 3×3. SqueezeNet-DSC replaces the 3×3 expansion by a "
        "depthwise and a pointwise convolution and keeps a third of the parameters. There is no linear layer: the "
        "last convolution gives one plane a class, and the planes are averaged.",
        "Weights without biases: Fire M·N1 + N1·N/2 + k²·N1·N/2; Fire-DSC M·N1 + N1·N + N1·k². For M = 96, N1 = 16, "
        "N = 128, k = 3 that is 11,776 against 3,728, 68.34 % less.",
        "squeezenet-dsc",
        2,
    ),
    "densenet": Page(
        "DenseNet",
        "Each layer reads all maps that were made before it in its block and appends k new ones (the growth). "
        "Features are computed once and used often, so k can be small: 32, or 12. A 1×1 convolution to 4k channels "
        "keeps the 3×3 cheap; transitions between blocks halve channels and plane.",
        "A layer on C channels: C·4k + 9·4k·k weights and 2·C + 2·4k of batch normalisation; the next one reads C + k. "
        "A transition: C·C/2 + 2·C.",
        "densenet121",
        2,
    ),
    "mobilenet": Page(
        "MobileNet v1 and v2",
        "A standard convolution filters and mixes channels in one step; MobileNet filters each channel alone "
        "(depthwise) and mixes with a 1×1 convolution (pointwise). v2 puts the depthwise convolution between an "
        "expansion and a projection without activation, and adds the input where the shape stays. Multipliers scale "
        "the channels (width) and the image (resolution) of all layers.",
        "k²·M + M·N weights instead of k²·M·N: for 3×3 about an eighth to a ninth. v2: C·tC + k²·tC + tC·C′ with "
        "expansion t = 6. Operations fall with the square of the width and of the resolution.",
        "mobilenet",
        2,
    ),
    "shufflenet": Page(
        "ShuffleNet v1",
        "In a bottleneck the 1×1 convolutions cost most, so they are grouped. But then a group would only see its "
        "own channels. The shuffle between them gives each group channels of all others: read the channels as a "
        "(groups, n) table and write it column by column. With stride 2 the input is averaged and concatenated "
        "instead of added.",
        "A unit with C channels, bottleneck B = C/4 and g groups: C·B/g + 9·B + B·C/g weights. More groups allow wider "
        "layers at the same cost: 144 channels for g = 1, 384 for g = 8 in stage 2.",
        "shufflenet",
        2,
    ),
    "efficientnet_lite": Page(
        "EfficientNet-Lite",
        "EfficientNet-Lite has MobileNet v2's inverted residuals in seven stages, with kernels of 3 and 5. Width and "
        "depth grow together from lite0 to lite4. The lite form leaves out squeeze-and-excitation and uses ReLU6, "
        "which quantizes well; stem and head keep their size. The sum is there only where the shape stays.",
        "C·tC + k²·tC + tC·C′ weights and 2·(2·tC + C′) of batch normalisation a block. Depthwise kernels hold few "
        "parameters; the head's 1×1 convolution and the linear layer hold over a third of lite0.",
        "efficientnet-lite0",
        2,
    ),
    "effnet": Page(
        "EffNet",
        "EffNet splits depthwise convolutions once more, into a row and a column, and the pool likewise. The columns "
        "are pooled between the two, which spares half the work of the second. The rows shrink in the 2×1 "
        "convolution that takes the place of a pointwise one. The first layer is such a block too. EffNet is not "
        "EfficientNet.",
        "M·K + 3·K + 3·K + 2·K·N weights a block of M → K → N channels, and 2·(3·K + N) of batch normalisation.",
        "effnet",
        3,
    ),
}
