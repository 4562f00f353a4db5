"""The parts behind `scripts/make_demo_model.py`: text, chat pairs, training, evaluation."""
