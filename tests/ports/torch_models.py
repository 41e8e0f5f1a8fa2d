"""Models as PyTorch users write them.  Each has a port of its name in keras_models.py.

What is wrong with a port is in cases.py.  Nothing here knows twintrack.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def as_trained(model, seed=0, variance=1.0):
    """Scales, shifts and statistics as training leaves them: no ones, no zeros."""
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor, low, high):
        if tensor is not None:
            tensor.data.uniform_(low, high, generator=generator)

    norms = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
    for module in model.modules():
        if isinstance(module, norms):
            draw(module.weight, 0.5, 1.5)
            draw(module.bias, -0.5, 0.5)
        if isinstance(module, nn.modules.batchnorm._NormBase):
            draw(module.running_mean, -0.3, 0.3)
            draw(module.running_var, 0.5 * variance, 1.5 * variance)
        if isinstance(module, nn.PReLU):
            draw(module.weight, 0.05, 0.4)
    return model


def from_numpy(model, seed):
    """The weights that the port converts by hand."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.from_numpy(rng.normal(0, 0.3, tuple(weight.shape))))
    return model


def conv_bn(cin, cout, stride=1):
    return nn.Sequential(
        nn.Conv2d(cin, cout, 3, stride, 1, bias=False),
        nn.BatchNorm2d(cout),
        nn.ReLU(inplace=True),
    )


def pooled_head(channels, classes=5):
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)
    )


# --- eps


def eps_second_norm():
    return as_trained(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 5),
        )
    )


class TokenMLP(nn.Module):
    """Tokens (n, t, 8), a residual block, their mean."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.fc1 = nn.Linear(8, 16)
        self.fc2 = nn.Linear(16, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = x + self.fc2(F.relu(self.fc1(self.norm(x))))
        return self.head(x.mean(dim=1))


def eps_layer_norm():
    return as_trained(TokenMLP())


def eps_applications():
    return as_trained(nn.Sequential(conv_bn(3, 8), pooled_head(8)), variance=1e-4)


class GroupNormNet(nn.Module):
    """Group norm behind each of two convolutions."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.gn1 = nn.GroupNorm(4, 8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.gn2 = nn.GroupNorm(2, 8)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.gn1(self.conv1(x)))
        x = F.relu(self.gn2(self.conv2(x)))
        return self.fc(x.mean((2, 3)))


def eps_group_norm():
    return as_trained(GroupNormNet())


# --- statistics


class TwoNorms(nn.Module):
    """conv-bn-relu twice."""

    def __init__(self, tracked=True):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(8, track_running_stats=tracked)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.fc(x)


def statistics_training_flag():
    return as_trained(TwoNorms())


def statistics_not_tracked():
    return as_trained(TwoNorms(tracked=False))


# --- padding


def padding_same_stride():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        pooled_head(8),
    )


class padding_valid(nn.Module):
    """Two convolutions that keep the size."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 8, 3, padding="same")
        self.classifier = nn.Linear(8, 5)

    def forward(self, x):
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv2(x))
        return self.classifier(x.amax(dim=(2, 3)))


class ResNetStem(nn.Module):
    """The first layers of a ResNet, and a head."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = F.relu(self.layer1(x))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1))


def padding_max_pool():
    return as_trained(ResNetStem())


class padding_wrong_side(nn.Module):
    """Pads above and to the left before it strides."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = F.pad(x, (1, 0, 1, 0))
        x = F.relu(self.stem(x))
        x = F.relu(self.conv(x))
        return self.fc(x.mean((2, 3)))


def padding_transposed():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 2, 1),
    )


def padding_reflect():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, padding_mode="reflect"),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(),
        pooled_head(8),
    )


# --- pool-border


def pool_border_odd():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(3, stride=2, padding=1),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(),
        pooled_head(8),
    )


class InceptionBlock(nn.Module):
    """A 1x1 branch and a pooled branch, side by side."""

    def __init__(self):
        super().__init__()
        self.branch1x1 = nn.Conv2d(6, 4, 1)
        self.branch_pool = nn.Conv2d(6, 4, 1)

    def forward(self, x):
        pooled = F.avg_pool2d(x, kernel_size=3, stride=1, padding=1)
        branches = [F.relu(self.branch1x1(x)), F.relu(self.branch_pool(pooled))]
        return torch.cat(branches, 1)


class MiniInception(nn.Module):
    """A stem, an Inception block, a head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3)
        self.mixed = InceptionBlock()
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.mixed(F.relu(self.stem(x)))
        return self.fc(x.mean((2, 3)))


def pool_border_branch():
    return MiniInception()


def pool_border_excluded():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False),
        nn.Conv2d(6, 8, 1),
        nn.ReLU(),
        pooled_head(8),
    )


# --- ceil-mode


def ceil_mode_max():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(),
        pooled_head(8),
    )


class ceil_mode_functional(nn.Module):
    """Pools in forward, keeping the last row and column."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1)
        self.out = nn.Linear(8, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2, ceil_mode=True)
        x = F.relu(self.conv2(x))
        return self.out(x.mean((-2, -1)))


# --- flatten-order


def flatten_missing_permute():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(6 * 5 * 4, 16),
        nn.ReLU(),
        nn.Linear(16, 5),
    )


class LeNet(nn.Module):
    """Two convolutions with pools, x.view, three dense layers."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 6, 3)
        self.fc1 = nn.Linear(6 * 2 * 3, 12)
        self.fc2 = nn.Linear(12, 10)
        self.fc3 = nn.Linear(10, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), (2, 2))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.view(x.size(0), -1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


def flatten_view():
    return LeNet()


class flatten_permute_wrong(nn.Module):
    """Features and classifier, as torchvision's VGG."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.ReLU(True),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(4, 6, 3, padding=1),
            nn.ReLU(True),
            nn.MaxPool2d(2, 2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(6 * 4 * 3, 12), nn.ReLU(True), nn.Dropout(), nn.Linear(12, 5)
        )

    def forward(self, x):
        x = self.features(x)
        x = torch.flatten(x, 1)
        return self.classifier(x)


class PatchNet(nn.Module):
    """Patches to tokens, a token-wise MLP, their mean."""

    def __init__(self):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 8, kernel_size=4, stride=4)
        self.norm = nn.LayerNorm(8)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = x + self.mlp(self.norm(x))
        return self.head(x.mean(dim=1))


def flatten_patches():
    return as_trained(PatchNet())


# --- channel-order and pixel-scale


def channel_order_reversed():
    return as_trained(nn.Sequential(conv_bn(3, 6), conv_bn(6, 8, 2), pooled_head(8)))


class channel_order_torch(nn.Module):
    """Trained on BGR; takes RGB."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = x[:, [2, 1, 0]]
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        return self.fc(x.mean((2, 3)))


class pixel_scale_rescaling(nn.Module):
    """Takes pixels 0 to 255, computes with -1 to 1."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.conv2 = nn.Conv2d(6, 8, 3)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = x / 127.5 - 1
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        return self.fc(x.mean((2, 3)))


class Normalize(nn.Module):
    """ImageNet's mean and standard deviation, as a layer."""

    def __init__(self, mean, std):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, x):
        return (x - self.mean) / self.std


def pixel_scale_variance():
    return nn.Sequential(
        Normalize(MEAN, STD),
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        pooled_head(6),
    )


def pixel_scale_missing():
    return pixel_scale_rescaling()


def pixel_scale_means():
    return pixel_scale_variance()


# --- gelu, slope, softmax, activation


class MlpBlock(nn.Module):
    """The feed-forward half of a transformer block."""

    def __init__(self, act):
        super().__init__()
        self.fc1 = nn.Linear(8, 16)
        self.act = act
        self.fc2 = nn.Linear(16, 8)

    def forward(self, x):
        return x + self.fc2(self.act(self.fc1(x)))


def gelu_functional():
    return nn.Sequential(MlpBlock(F.gelu), MlpBlock(F.gelu), nn.Linear(8, 4))


def gelu_tanh():
    return nn.Sequential(
        nn.Linear(8, 16), nn.GELU(approximate="tanh"), nn.Linear(16, 4)
    )


def slope_default():
    return nn.Sequential(
        nn.Conv2d(3, 6, 4, stride=2, padding=1),
        nn.LeakyReLU(),
        nn.Conv2d(6, 8, 4, stride=2, padding=1),
        nn.LeakyReLU(),
        pooled_head(8),
    )


class slope_string(nn.Module):
    """Two convolutions as in YOLO."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 5, 1)

    def forward(self, x):
        x = F.leaky_relu(self.conv1(x), 0.1)
        x = F.leaky_relu(self.conv2(x), 0.1)
        return self.head(x)


def softmax_in_head():
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), pooled_head(6))


def softmax_twice():
    return nn.Sequential(
        nn.Linear(7, 12), nn.ReLU(), nn.Linear(12, 5), nn.Softmax(dim=1)
    )


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection, and the sum."""

    def __init__(self, channels, act):
        super().__init__()
        hidden = 2 * channels
        self.conv = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            act(),
            nn.Conv2d(hidden, hidden, 3, 1, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            act(),
            nn.Conv2d(hidden, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x):
        return x + self.conv(x)


def activation_relu6():
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), InvertedResidual(6, nn.ReLU6), pooled_head(6)
    )
    # wide activations, so that the limit of 6 is reached
    model = as_trained(model, variance=0.01)
    return model


def activation_hardswish():
    return as_trained(
        nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1, bias=False),
            nn.BatchNorm2d(6),
            nn.Hardswish(),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.SiLU(),
            pooled_head(8),
        )
    )


# --- dropout


class dropout_training_flag(nn.Module):
    """Dropout before the last layer."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(7, 24)
        self.drop = nn.Dropout(0.5)
        self.fc2 = nn.Linear(24, 5)

    def forward(self, x):
        return self.fc2(self.drop(torch.tanh(self.fc1(x))))


class dropout_functional(nn.Module):
    """`F.dropout` without `training`: it drops whatever the mode."""

    def __init__(self, drop=True):
        super().__init__()
        self.drop = drop
        self.conv = nn.Conv2d(3, 8, 3)
        self.fc1 = nn.Linear(8, 24)
        self.fc2 = nn.Linear(24, 5)

    def forward(self, x):
        x = F.relu(self.conv(x)).mean((2, 3))
        x = F.relu(self.fc1(x))
        if self.drop:
            x = F.dropout(x, 0.3)
        return self.fc2(x)


# --- weights that the user converts by hand: kernel, gates, groups, reset


def kernel_swapped():
    return from_numpy(
        nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), pooled_head(8)
        ),
        seed=1,
    )


def kernel_dense():
    return from_numpy(
        nn.Sequential(nn.Linear(7, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh()), seed=2
    )


def kernel_transposed():
    return from_numpy(
        nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(6, 6, 2, stride=2),
            nn.ReLU(),
            nn.Conv2d(6, 2, 1),
        ),
        seed=3,
    )


class Recurrent(nn.Module):
    """A recurrent layer, its last step, a dense layer."""

    def __init__(self, rnn):
        super().__init__()
        self.rnn = rnn
        self.fc = nn.Linear(rnn.hidden_size * (2 if rnn.bidirectional else 1), 4)

    def forward(self, x):
        out, _ = self.rnn(x)
        return self.fc(out[:, -1, :])


def gates_lstm():
    return from_numpy(Recurrent(nn.LSTM(5, 6, batch_first=True)), seed=4)


def gates_gru():
    return from_numpy(Recurrent(nn.GRU(5, 6, batch_first=True)), seed=5)


def reset_gru():
    return from_numpy(Recurrent(nn.GRU(5, 6, batch_first=True)), seed=6)


def groups_interleaved():
    return from_numpy(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, groups=2),
            nn.ReLU(),
            pooled_head(8),
        ),
        seed=7,
    )


class groups_shuffle(nn.Module):
    """Grouped, shuffled, grouped: ShuffleNet's unit."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.conv1 = nn.Conv2d(8, 12, 1, groups=4)
        self.conv2 = nn.Conv2d(12, 8, 1, groups=4)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = F.relu(self.conv1(x))
        n, c, h, w = x.shape
        x = x.view(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w)
        x = F.relu(self.conv2(x))
        return self.fc(x.mean((2, 3)))


# --- resize


class Upsampled(nn.Module):
    """Half the size, enlarged again, a map of two classes."""

    def __init__(self, **options):
        super().__init__()
        self.down = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.out = nn.Conv2d(6, 2, 3, padding=1)
        self.options = options

    def forward(self, x):
        x = F.relu(self.down(x))
        x = F.interpolate(x, scale_factor=2, **self.options)
        return self.out(x)


def resize_align_corners():
    return Upsampled(mode="bilinear", align_corners=True)


def resize_nearest():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(6, 2, 3, padding=1),
    )


class resize_antialias(nn.Module):
    """Makes pictures smaller first, as torchvision's transforms do."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.fc = nn.Linear(6, 5)

    def forward(self, x):
        x = F.interpolate(x, size=(8, 6), mode="bilinear", antialias=True)
        return self.fc(F.relu(self.conv(x)).mean((2, 3)))


# --- bias, stride, dilation, order, layer


def bias_conv():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), pooled_head(8)
    )


class bias_hidden(nn.Module):
    """Three dense layers."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(7, 10), nn.Linear(10, 10)])
        self.out = nn.Linear(10, 3)

    def forward(self, x):
        for layer in self.layers:
            x = torch.sigmoid(layer(x))
        return self.out(x)


class Bottleneck(nn.Module):
    """As in torchvision's ResNet-50: the 3x3 convolution strides."""

    def __init__(self, cin, width, cout, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, cout, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(cout)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential(
            nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout)
        )

    def forward(self, x):
        identity = self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + identity)


def stride_bottleneck():
    return as_trained(
        nn.Sequential(conv_bn(3, 6), Bottleneck(6, 4, 8, 2), pooled_head(8))
    )


def dilation_second():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=2, dilation=2),
        nn.ReLU(),
        pooled_head(8),
    )


def order_relu_norm():
    return as_trained(nn.Sequential(conv_bn(3, 6), conv_bn(6, 8), pooled_head(8)))


class BasicBlock(nn.Module):
    """Two convolutions and the sum."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(x + y)


def layer_norm_missing():
    return as_trained(
        nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), BasicBlock(6), pooled_head(6))
    )


def layer_pool_missing():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        pooled_head(8),
    )


def layer_activation_missing():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 12),
        nn.ReLU(),
        nn.Linear(12, 5),
    )


# --- lrn


class AlexNetStem(nn.Module):
    """Local response normalisation between two convolutions, as AlexNet has it."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.lrn = nn.LocalResponseNorm(5, alpha=0.5, beta=0.75, k=2.0)
        self.pool = nn.MaxPool2d(3, stride=2)
        self.conv2 = nn.Conv2d(16, 8, 3, padding=1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.pool(self.lrn(F.relu(self.conv1(x))))
        return self.fc(F.relu(self.conv2(x)).mean((2, 3)))


def lrn_alpha():
    return AlexNetStem()


def lrn_size():
    return AlexNetStem()


def order_lrn_pool():
    return AlexNetStem()


class lrn_offset(nn.Module):
    """The function, with its defaults but for the number of channels."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 3, padding=1)
        self.conv2 = nn.Conv2d(12, 8, 3, padding=1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = F.local_response_norm(F.relu(self.conv1(x)), 3, alpha=0.3, k=1.0)
        return self.fc(F.relu(self.conv2(x)).mean((2, 3)))


# --- pool, affine


def pool_kind_max():
    return layer_pool_missing()


def pool_kind_global():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    )


def affine_scale():
    return eps_second_norm()


def activation_leaky():
    return layer_pool_missing()


# --- axis


def axis_batch_norm():
    return as_trained(nn.Sequential(conv_bn(3, 12), pooled_head(12)))


class AttentionPool(nn.Module):
    """Steps weighed by a softmax over time."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Linear(5, 8)
        self.score = nn.Linear(8, 8)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        h = torch.tanh(self.proj(x))
        weights = F.softmax(self.score(h), dim=1)
        return self.fc((weights * h).sum(dim=1))


def axis_softmax():
    return AttentionPool()


def axis_one_group():
    return as_trained(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(1, 8), nn.ReLU(), pooled_head(8)
        )
    )


# --- attention, embeddings, sequences: scale, mask, return


class SelfAttention(nn.Module):
    """Heads of a joint projection."""

    def __init__(self, dim=8, heads=2):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        n, t, d = x.shape
        qkv = self.qkv(x).reshape(n, t, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(n, t, d))


class AttentionBlock(nn.Module):
    """Norm, attention and the sum."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.attn = SelfAttention()
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = x + self.attn(self.norm(x))
        return self.head(x.mean(1))


def scale_attention():
    return as_trained(AttentionBlock())


class ScaledEmbedding(nn.Module):
    """Words times the root of their width, as in "Attention is all you need"."""

    def __init__(self, words=20, dim=8):
        super().__init__()
        self.embed = nn.Embedding(words, dim)
        self.fc1 = nn.Linear(dim, 12)
        self.fc2 = nn.Linear(12, 4)
        self.dim = dim

    def forward(self, tokens):
        x = self.embed(tokens) * math.sqrt(self.dim)
        return self.fc2(torch.tanh(self.fc1(x)).mean(1))


def scale_embedding():
    return ScaledEmbedding()


class CausalBlock(nn.Module):
    """A block of a decoder: each step sees those before it."""

    def __init__(self, dim=8):
        super().__init__()
        self.ln1 = nn.LayerNorm(dim)
        self.attn = nn.MultiheadAttention(dim, 2, batch_first=True)
        self.ln2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 16), nn.ReLU(), nn.Linear(16, dim))

    def forward(self, x):
        t = x.size(1)
        mask = torch.triu(torch.ones(t, t, dtype=torch.bool), diagonal=1)
        h = self.ln1(x)
        h, _ = self.attn(h, h, h, attn_mask=mask, need_weights=False)
        x = x + h
        return x + self.mlp(self.ln2(x))


class TinyGPT(nn.Module):
    """Tokens to the logits of the next one."""

    def __init__(self, words=20, steps=6, dim=8):
        super().__init__()
        self.wte = nn.Embedding(words, dim)
        self.wpe = nn.Embedding(steps, dim)
        self.block = CausalBlock(dim)
        self.lm_head = nn.Linear(dim, words, bias=False)

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.size(1)))
        return self.lm_head(self.block(x))


def mask_causal():
    return as_trained(TinyGPT())


def return_last():
    return Recurrent(nn.LSTM(5, 6, batch_first=True))


def return_bidirectional():
    return Recurrent(nn.LSTM(5, 4, batch_first=True, bidirectional=True))


# --- right pairs


def right_sequential():
    return as_trained(
        nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6, eps=1e-3, momentum=0.1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(8 * 4 * 3, 10),
            nn.LogSoftmax(dim=1),
        )
    )


class SamePadConv2d(nn.Conv2d):
    """TensorFlow's "same", spelled in PyTorch."""

    def forward(self, x):
        pads = []
        sizes = zip(x.shape[:1:-1], self.kernel_size, self.stride, strict=True)
        for size, k, s in sizes:
            total = max((math.ceil(size / s) - 1) * s + k - size, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(x, pads))


def right_asymmetric():
    return as_trained(
        nn.Sequential(
            SamePadConv2d(3, 6, 3, stride=2),
            nn.ReLU(),
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.Conv2d(6, 8, 3, stride=2, bias=False),
            nn.BatchNorm2d(8),
            nn.SiLU(),
            pooled_head(8),
        )
    )


class right_resnet(nn.Module):
    """A stem, a bottleneck that strides, a basic block."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 6, 7, 2, 3, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        self.layer1 = Bottleneck(6, 4, 8, 2)
        self.layer2 = BasicBlock(8)
        self.fc = nn.Linear(8, 5)
        as_trained(self)

    def forward(self, x):
        x = self.layer2(self.layer1(self.stem(x)))
        return self.fc(x.mean(dim=(2, 3)))


def right_gelu():
    return nn.Sequential(MlpBlock(nn.GELU()), MlpBlock(F.gelu), nn.Linear(8, 4))


def right_gelu_erf():
    return nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4))


def right_group_norm():
    return as_trained(GroupNormNet())


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7, norm over channels, two dense layers, layer scale, the sum."""

    def __init__(self, dim):
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.linspace(0.1, 0.9, dim))

    def forward(self, x):
        y = self.dwconv(x).permute(0, 2, 3, 1)
        y = self.pwconv2(F.silu(self.pwconv1(self.norm(y))))
        y = (self.gamma * y).permute(0, 3, 1, 2)
        return x + y


def right_convnext():
    return as_trained(
        nn.Sequential(nn.Conv2d(3, 6, 2, 2), ConvNeXtBlock(6), pooled_head(6))
    )


def right_separable():
    def block(cin, cout, stride):
        return nn.Sequential(
            nn.Conv2d(cin, cin, 3, stride, 1, groups=cin, bias=False),
            nn.Conv2d(cin, cout, 1, bias=False),
            nn.BatchNorm2d(cout),
            nn.ReLU6(),
        )

    return as_trained(
        nn.Sequential(conv_bn(3, 6), block(6, 8, 1), block(8, 10, 2), pooled_head(10))
    )


def right_depthwise():
    return as_trained(
        nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1, groups=3),
            nn.BatchNorm2d(6),
            nn.Hardswish(),
            nn.Conv2d(6, 8, 1),
            nn.ELU(),
            pooled_head(8),
        )
    )


def right_grouped():
    return from_numpy(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, padding=1, groups=4),
            nn.ReLU(),
            pooled_head(12),
        ),
        seed=8,
    )


def right_lstm():
    return Recurrent(nn.LSTM(5, 6, num_layers=2, batch_first=True))


def right_lstm_own():
    return from_numpy(Recurrent(nn.LSTM(5, 6, batch_first=True)), seed=9)


def right_gru():
    return Recurrent(nn.GRU(5, 6, batch_first=True))


class right_bidirectional(nn.Module):
    """Words, both directions, the mean over time."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 6)
        self.lstm = nn.LSTM(6, 5, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(10, 3)

    def forward(self, tokens):
        out, _ = self.lstm(self.embedding(tokens))
        return self.fc(out.mean(1))


def right_transformer():
    return as_trained(TinyGPT())


def right_encoder_layer():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return as_trained(nn.Sequential(nn.Linear(5, 8), layer, nn.Linear(8, 4)))


class DoubleConv(nn.Module):
    """(conv, bn, relu) twice."""

    def __init__(self, cin, cout):
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(cin, cout, 3, padding=1, bias=False),
            nn.BatchNorm2d(cout),
            nn.ReLU(inplace=True),
            nn.Conv2d(cout, cout, 3, padding=1, bias=False),
            nn.BatchNorm2d(cout),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        return self.double_conv(x)


class right_unet(nn.Module):
    """Down twice, up twice, what was there before beside it."""

    def __init__(self):
        super().__init__()
        self.inc = DoubleConv(3, 4)
        self.down1 = DoubleConv(4, 6)
        self.down2 = DoubleConv(6, 8)
        self.up1 = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.conv1 = DoubleConv(12, 6)
        self.up2 = nn.ConvTranspose2d(6, 4, 4, stride=2, padding=1)
        self.conv2 = DoubleConv(8, 4)
        self.outc = nn.Conv2d(4, 2, 1)
        as_trained(self)

    def forward(self, x):
        x1 = self.inc(x)
        x2 = self.down1(F.max_pool2d(x1, 2))
        x3 = self.down2(F.max_pool2d(x2, 2))
        x = self.conv1(torch.cat([x2, self.up1(x3)], dim=1))
        x = self.conv2(torch.cat([x1, self.up2(x)], dim=1))
        return self.outc(x)


def right_transposed():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1),
        nn.PReLU(6),
        nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1),
        nn.Tanh(),
    )


def right_pool():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.AvgPool2d(3, 2, padding=1, count_include_pad=False),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.LeakyReLU(0.3),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


class right_imagenet(nn.Module):
    """Takes pixels 0 to 255 and normalises them itself."""

    def __init__(self):
        super().__init__()
        self.normalize = Normalize(MEAN, STD)
        self.body = nn.Sequential(conv_bn(3, 6, 2), nn.Conv2d(6, 8, 3), nn.ReLU())
        self.fc = nn.Linear(8, 5)
        as_trained(self)

    def forward(self, x):
        x = self.body(self.normalize(x / 255))
        return torch.softmax(self.fc(x.mean((2, 3))), dim=1)


def right_conv1d():
    return as_trained(
        nn.Sequential(
            nn.Conv1d(4, 6, 5, padding=2),
            nn.BatchNorm1d(6),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(6, 8, 3, dilation=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(8, 3),
        )
    )


def right_conv3d():
    return as_trained(
        nn.Sequential(
            nn.Conv3d(2, 4, 3, padding=1),
            nn.InstanceNorm3d(4, affine=True),
            nn.ReLU(),
            nn.Conv3d(4, 4, 2, stride=2),
            nn.Flatten(),
            nn.Linear(4 * 3 * 2 * 4, 3),
        )
    )


def right_float32():
    return nn.Sequential(
        nn.Conv3d(2, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool3d(2),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


def right_bilinear():
    return Upsampled(mode="bilinear", align_corners=False)


class right_squeeze(nn.Module):
    """Squeeze and excite, a constant scale, channels last in the middle."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.squeeze = nn.Conv2d(8, 4, 1)
        self.excite = nn.Conv2d(4, 8, 1)
        self.fc = nn.Linear(8 * 6 * 5, 5)

    def forward(self, x):
        x = F.softplus(self.conv(x))
        s = F.adaptive_avg_pool2d(x, 1)
        s = torch.sigmoid(self.excite(F.relu(self.squeeze(s))))
        x = F.avg_pool2d(x * s, 2) * 0.5
        x = x.permute(0, 2, 3, 1).contiguous()
        return self.fc(x.view(x.shape[0], -1))


def right_lrn():
    return AlexNetStem()
