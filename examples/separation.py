"""How often softmax tells a spike and linear attention does not, exactly, and why not: separation.py"""

from nhin.replication.attention.exact import outcomes
from nhin.replication.attention.setting import Setting
from nhin.replication.nets import NETS, SUCCESS, WORDS, fired


def main() -> None:
    """Print the chances for spikes of several sizes."""
    print("spike  success", *(WORDS[net] for net in NETS), sep="  ")
    for spike in (0.4, 0.8, 1.2, 2.0, 3.0):
        every = outcomes(Setting(n=200, d=22, m=15, a1=spike))
        rates = (f"{rate:{len(WORDS[net])}.3f}" for net, rate in zip(NETS, fired(every), strict=True))
        print(f"{spike:5}  {every[SUCCESS]:7.3f}", *rates, sep="  ")


if __name__ == "__main__":
    main()
