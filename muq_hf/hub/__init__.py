"""Folders for the Hugging Face Hub: conversion of published checkpoints, export with remote code, model cards."""
