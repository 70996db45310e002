"""Print how often softmax attention detects a spike and linear attention does not, exactly: separation.py."""

from nhin.studies.separation.attention_exact import exact_outcomes
from nhin.studies.separation.config import AttentionConfig
from nhin.studies.separation.outcomes import NET_TITLES, NETS, SUCCESS, firing_rates


def main() -> None:
    """Print the success probability and the four firing rates for spikes of several sizes."""
    print("spike  success", *(NET_TITLES[net] for net in NETS), sep="  ")
    for spike in (0.4, 0.8, 1.2, 2.0, 3.0):
        outcomes = exact_outcomes(AttentionConfig(n=200, d=22, m=15, a1=spike))
        rates = (
            f"{rate:{len(NET_TITLES[net])}.3f}"
            for net, rate in zip(NETS, firing_rates(outcomes), strict=True)
        )
        print(f"{spike:5}  {outcomes[SUCCESS]:7.3f}", *rates, sep="  ")


if __name__ == "__main__":
    main()
