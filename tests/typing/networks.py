"""What a type checker knows of modules, their functions and optimizers."""

from typing import reveal_type

import numpy as np

import microgradnd as mg
from microgradnd import nn, optim
from microgradnd.nn import functional as F

t = mg.tensor([[1.0, 2.0]], requires_grad=True)
array = np.ones((1, 2))

reveal_type(F.relu(t))  # -> Tensor
reveal_type(F.relu(array))  # -> NDArray
reveal_type(F.softmax(t, axis=0))  # -> Tensor
reveal_type(F.mse_loss(t, array))  # -> Tensor
reveal_type(F.linear(t, array, None))  # -> Tensor
F.softmax(t, dim=0)  # error: call-overload
F.mse_loss(t, array, reduction="average")  # error: call-overload

layer = nn.Linear(2, 1)
reveal_type(layer(array))  # -> Tensor
reveal_type(layer.weight)  # -> Tensor
reveal_type(layer.bias)  # -> Tensor | None
reveal_type(nn.ReLU()(t))  # -> Tensor
reveal_type(nn.Tanh()(array))  # -> NDArray
reveal_type(nn.Parameter(array))  # -> Tensor
layer(array, array)  # error: call-arg
nn.Linear(2, 1, biases=False)  # error: call-arg
nn.Linear("2", 1)  # error: arg-type
nn.MSELoss("average")  # error: arg-type


class Network(nn.Module):
    def __init__(self, width: int) -> None:
        self.layers = nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 1))
        self.scale = nn.Parameter(np.ones(1))

    def forward(self, x: mg.Tensor, *, scaled: bool = True) -> mg.Tensor:
        y: mg.Tensor = self.layers(x)
        return y * self.scale if scaled else y


model = Network(3)
reveal_type(model(t))  # -> Tensor
reveal_type(model(t, scaled=False).sum())  # -> Tensor
reveal_type(model.eval())  # -> Network
reveal_type(list(model.parameters()))  # -> list[Tensor]
model(t, scales=False)  # error: call-arg
model("text")  # error: arg-type

optimizer = optim.Adam(model.parameters(), lr=1e-3)
for _ in range(2):
    optimizer.zero_grad()
    loss = nn.MSELoss()(model(t), array)
    loss.backward()
    optimizer.step()
reveal_type(loss)  # -> Tensor | Any
optim.Adam(model.parameters(), rate=1e-3)  # error: call-arg
optim.SGD(model.parameters(), lr="fast")  # error: arg-type
optim.SGD(3, lr=0.1)  # error: arg-type
optim.Adam(model.parameters(), 1e-3, (0.9, 0.99), 1e-8, 0, False, True)  # error: call-arg
optim.AdamW([{"params": model.parameters(), "lr": 0.1}])
reveal_type(optimizer.betas)  # -> tuple[float, float]
reveal_type(optimizer.params)  # -> list[Tensor]
reveal_type(optim.lr_scheduler.StepLR(optimizer, 3).step_size)  # -> int
optim.lr_scheduler.StepLR(optimizer)  # error: call-arg
nn.init.kaiming_uniform_(t, mode="fan")  # error: arg-type
