"""What becomes of joint training and of InfoReg's gap as modalities are added."""
